#include "guestkernel/fs/proc/net.hpp"

#include "guestkernel/net/unix.hpp"

namespace kvmsbx::fs {

Result<> put_net_unix(TextSink& sink) {
    net::put_unix_sockets(sink);
    return {};
}

}  // namespace kvmsbx::fs
