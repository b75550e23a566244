#include "guestkernel/platform/address_space.hpp"

#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::platform {

bool holds_frames;

UserSpace::~UserSpace() = default;
Result<> UserSpace::create(Phys root) {
    root_ = root;
    return {};
}
void UserSpace::drop() { root_ = 0; }
void UserSpace::rights_gone(uint64_t, uint64_t, Left) {}
bool UserSpace::flush() {
    if (is_loaded(cpu())) forget_space(cpu());
    return true;
}
bool UserSpace::flush_soon() { return flush(); }
bool UserSpace::caches_mappings() { return false; }
void UserSpace::mapped(const Run*, unsigned, Expected) {}
Result<> UserSpace::get_ready() { return {}; }
uint64_t UserSpace::usable_cpus() const { return ~uint64_t{0}; }
Result<> UserSpace::load(CpuArea&) { return {}; }

}  // namespace kvmsbx::platform
