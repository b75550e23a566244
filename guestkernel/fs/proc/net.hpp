#pragma once
// /proc/net/unix: what AF_UNIX sockets there are.
#include "guestkernel/lib/format.hpp"

namespace kvmsbx::fs {

Result<> put_net_unix(TextSink& sink);

}  // namespace kvmsbx::fs
