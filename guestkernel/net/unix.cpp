#include "guestkernel/net/unix.hpp"

namespace kvmsbx::net {

Result<RefPtr<Socket>> create_unix(task::Task&, int, int, uint32_t) { return Errno::kAFNOSUPPORT; }
Result<> create_unix_pair(task::Task&, int, int, uint32_t, RefPtr<Socket> (&)[2]) { return Errno::kAFNOSUPPORT; }

}  // namespace kvmsbx::net
