#include "guestkernel/net/netlink.hpp"

namespace kvmsbx::net {

Result<RefPtr<Socket>> create_netlink(task::Task&, int, int, uint32_t) { return Errno::kAFNOSUPPORT; }

}  // namespace kvmsbx::net
