#pragma once
// /proc/net: what sockets there are.
#include "guestkernel/fs/proc/nodes.hpp"

namespace kvmsbx::fs {

Result<> put_net_unix(TextSink& sink);

inline constexpr StaticEntry kNetEntries[] = {
    text_entry("unix", put_net_unix),
};

}  // namespace kvmsbx::fs
