#include "oci/outcome.hpp"

#include <cstring>

namespace kvmsbx::oci {

Failure errno_failure(const std::string& what, int error_number) {
    return Failure{what + ": " + std::strerror(error_number)};
}

}  // namespace kvmsbx::oci
