#include "guestkernel/platform/address_space.hpp"

namespace kvmsbx::platform {

bool holds_frames;

UserSpace::~UserSpace() = default;
Result<> UserSpace::create(Phys root) {
    root_ = root;
    return {};
}
void UserSpace::drop() { root_ = 0; }
void UserSpace::rights_gone(uint64_t, uint64_t, Left) {}
bool UserSpace::flush() { return true; }
bool UserSpace::flush_soon() { return true; }
bool UserSpace::caches_mappings() { return false; }
void UserSpace::mapped(const Run*, unsigned, Expected) {}
Result<> UserSpace::load(CpuArea&) { return {}; }

}  // namespace kvmsbx::platform
