#include "guestkernel/net/inet.hpp"

namespace kvmsbx::net {

Result<RefPtr<Socket>> create_inet(task::Task&, int, int, int, uint32_t) { return Errno::kAFNOSUPPORT; }

}  // namespace kvmsbx::net
