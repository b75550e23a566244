#pragma once
// What init calls to bring files up and to leave them in order:
//   fs::register_file_systems()               registers all types and devices and connects to the gofer; a thread of the
//                                             scheduler calls it, since it may block
//   vfs::mount_root(), vfs::mount_spec(), ... mount what the application spec asks for (vfs/path.hpp)
//   fs::write_back_everything()               writes back at the sandbox's end, when the processes are gone
// The hooks of sched/cpu.hpp take their functions from fs/ninep/channel.hpp.
namespace kvmsbx::fs {

// What fails is told by debug lines; a mount of a type that could not be registered fails with ENODEV.
void register_file_systems();
// Written data that the gofer does not have yet goes to it. May block.
void write_back_everything();

}  // namespace kvmsbx::fs
