#pragma once
#include <string>

namespace kvmsbx::oci {

// Now, as RFC 3339 with nanoseconds, in UTC.
std::string rfc3339_now();

}  // namespace kvmsbx::oci
