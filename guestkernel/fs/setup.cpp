#include "guestkernel/fs/setup.hpp"

#include "guestkernel/arch/arch.hpp"
#include "guestkernel/fs/dev.hpp"
#include "guestkernel/fs/ninep/ninep.hpp"
#include "guestkernel/fs/ninep/transport.hpp"
#include "guestkernel/fs/pipe.hpp"
#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/sched/cpu.hpp"

namespace kvmsbx::fs {

Result<> register_file_types() {
    TRY(vfs::register_file_system("tmpfs", make_tmpfs));
    TRY(register_memory_devices());
    register_fifos();
    return {};
}

Result<> connect_gofer(bool shared_access) {
    uint8_t* channel = static_cast<uint8_t*>(arch::phys_to_virt(abi::kChannelGpa));
    sched::hooks.gofer_interrupt = ninep::handle_completion_interrupt;
    sched::hooks.gofer_pending = ninep::requests_pending;
    return ninep::initialize({channel, arch::boot_info().channel_size}, arch::ring_gofer, shared_access);
}

}  // namespace kvmsbx::fs
