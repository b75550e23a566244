#include "guestkernel/platform/address_space.hpp"

#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::platform {

bool holds_frames;

UserSpace::~UserSpace() { drop(); }

Result<> UserSpace::create(Phys root) {
    root_ = root;
    return {};
}

void UserSpace::drop() {
    if (!root_) return;
    // 0: it may be this one all the same, see flush().
    const Phys loaded = cpu().loaded_cr3;
    if (loaded == root_ || loaded == 0) drop_user_space();
    root_ = 0;
}

void UserSpace::rights_gone(uint64_t, uint64_t, Left) {}

bool UserSpace::flush() {
    // This vCPU loads the page table again before it resumes.
    if (cpu().loaded_cr3 == root_) cpu().loaded_cr3 = 0;
    return true;
}

bool UserSpace::flush_soon() { return flush(); }

bool UserSpace::caches_mappings() { return false; }
void UserSpace::mapped(const Run*, unsigned, Expected) {}

Result<> UserSpace::get_ready() { return {}; }
uint64_t UserSpace::usable_cpus() const { return ~uint64_t{0}; }
Result<> UserSpace::load(CpuArea& area) {
    // No vCPU gives up the kernel lock with a page table loaded that another could free.
    if (area.loaded_cr3 != boot_info().sentry_pml4) drop_user_space();
    return {};
}

}  // namespace kvmsbx::platform
