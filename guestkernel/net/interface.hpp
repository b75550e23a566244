#pragma once
// The one network interface, lo, as netdevice(7)'s ioctls show it.
#include "guestkernel/mm/user_memory.hpp"

namespace kvmsbx::net {

inline constexpr uint32_t kIffUp = 1, kIffLoopback = 8, kIffRunning = 0x40, kIffLowerUp = 0x10000;

// SIOCGIF*: ENODEV for another interface than lo. Setting ones: EPERM without CAP_NET_ADMIN, EOPNOTSUPP with it. ENOTTY
// for other requests.
Result<int64_t> interface_ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument);

}  // namespace kvmsbx::net
