#pragma once
// /dev/kvm, opened with messages that say how to repair what is wrong.
#include "common/host/fd.hpp"
#include "oci/outcome.hpp"

namespace kvmsbx::oci {

// Checks that it is there, may be used, and speaks API version 12.
Outcome<host::Fd> open_kvm();

}  // namespace kvmsbx::oci
