#include "guestkernel/net/control_message.hpp"

#include <cstring>

namespace kvmsbx::net {

Result<bool> ControlReader::next(ControlMessage& out) {
    ControlHeader header;
    if (rest_.size() < sizeof header) return false;
    memcpy(&header, rest_.data(), sizeof header);
    if (header.length < sizeof header || header.length > rest_.size()) return Errno::kINVAL;
    out = {header.level, header.type, rest_.subspan(sizeof header, header.length - sizeof header)};
    const uint64_t step = control_align(header.length);
    rest_ = step < rest_.size() ? rest_.subspan(step) : std::span<const std::byte>();
    return true;
}

}  // namespace kvmsbx::net
