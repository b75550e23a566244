#pragma once
// The monitor's control socket, and the way to it. Only the container's owner and root may speak.
#include <sys/types.h>

#include "oci/container/store.hpp"
#include "oci/control/connection.hpp"

namespace kvmsbx::oci {

Outcome<host::Fd> listen_for_control(const ContainerFolder& folder);

struct Accepted {
    host::Fd socket;
    pid_t pid;  // of the process that connected, as this process's PID namespace has it
};
// None: nobody is waiting, or somebody who may not speak (who is told by the hang-up).
std::optional<Accepted> accept_control(int listener);

// The way in for the other verbs. "container not running" where nobody listens.
Outcome<ControlConnection> connect_to_monitor(const ContainerFolder& folder);
// The process that listens, also where state.json cannot tell; 0: nobody does.
pid_t find_monitor(const ContainerFolder& folder);

}  // namespace kvmsbx::oci
