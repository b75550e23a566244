#pragma once
// What can be set for all sockets of the sandbox (Documentation/networking/ip-sysctl.rst).
#include <cstdint>

namespace kvmsbx::net {

struct Settings {
    int32_t somaxconn = 4096;
    // Ports for those that want any; the first is never below first_unprivileged_port.
    uint16_t first_local_port = 32768, last_local_port = 60999;
    // To bind a port below it wants CAP_NET_BIND_SERVICE.
    uint32_t first_unprivileged_port = 1024;
    // Of sockets that did not choose (tcp(7)). Seconds, but for the probes.
    int32_t keepalive_time = 7200, keepalive_interval = 75, keepalive_probes = 9, fin_timeout = 60;
};
inline Settings settings;

}  // namespace kvmsbx::net
