#pragma once
// What a system call left in errno, as a value.
#include <cerrno>

#include "common/base/result.hpp"

namespace kvmsbx::host {

inline Errno last_errno() { return static_cast<Errno>(errno); }

// Of a system call that returns a negative number, and sets errno, when it fails.
inline Result<> checked(long result) {
    if (result < 0) return last_errno();
    return {};
}

}  // namespace kvmsbx::host
