#pragma once
// write(2) until all is written.
#include <string_view>

#include "common/base/result.hpp"

namespace kvmsbx::host {

// Goes on after a short write and after a signal. The error is write(2)'s, or kIO where it takes nothing; a part may have
// been written by then.
Result<> write_all(int fd, std::string_view bytes);

}  // namespace kvmsbx::host
