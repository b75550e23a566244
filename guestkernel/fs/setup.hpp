#pragma once
// What init calls to bring files up, in this order:
//   fs::register_file_types()            tmpfs, devtmpfs, memory devices, FIFOs (no gofer needed)
//   ninep::initialize(channel, ...)      the gofer connection and type "9p"; spins for replies (fs/ninep/ninep.hpp)
//   (tty, proc, sys, devpts register theirs)
//   vfs::mount_root(), vfs::mount_spec() ... (vfs/path.hpp)
//   ninep::start_blocking()              as soon as requests are made by threads of the scheduler that may block
// and at the end of the sandbox, when the processes are gone: ninep::write_back_all().
#include "common/base/result.hpp"

namespace kvmsbx::fs {

Result<> register_file_types();
// The gofer's channel from the boot info, its doorbell, and the scheduler's hooks for completions.
Result<> connect_gofer(bool shared_access);

}  // namespace kvmsbx::fs
