#pragma once
// What this process may do on the host.

namespace kvmsbx::oci {

// CAP_* of <linux/capability.h>, in the effective set.
bool has_capability(unsigned capability);

}  // namespace kvmsbx::oci
