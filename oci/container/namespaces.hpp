#pragma once
// linux.namespaces: what of it a sandbox can have.
//
// The Sentry has PID, IPC, UTS, mount and time namespaces of its own by nature, and none of them can be another
// container's or the host's. The network namespace is the host's object: the monitor enters it, where engines find it
// by the monitor's PID.
#include "common/host/fd.hpp"
#include "oci/bundle.hpp"
#include "oci/reporter.hpp"

namespace kvmsbx::oci {

// Refuses what cannot be given: the host's or another container's PID or IPC namespace.
Outcome<> check_namespaces(const Bundle& bundle);

// Makes or joins the network namespace that the bundle asks for, with its loopback up. Gives the one before (for hooks,
// and to come back); none: the process stayed where it was.
Outcome<host::Fd> enter_network(const Bundle& bundle, Reporter& reporter);

}  // namespace kvmsbx::oci
