// The control buffer of sendmsg(2), any bytes: each message lies inside the buffer, behind the one before it, and the
// walk ends.
#include <cstdlib>

#include "guestkernel/net/control_message.hpp"

using namespace kvmsbx;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    net::ControlReader reader(bytes);
    net::ControlMessage message{};
    const std::byte* behind = bytes.data();
    unsigned sum = 0;
    for (;;) {
        const Result<bool> next = reader.next(message);
        if (next.is_error() || !next.value()) break;
        if (message.data.data() < behind + sizeof(net::ControlHeader)) abort();
        if (message.data.data() + message.data.size() > bytes.data() + bytes.size()) abort();
        for (const std::byte byte : message.data) sum += std::to_integer<unsigned>(byte);
        behind = message.data.data() + message.data.size();
    }
    return sum == ~0U ? 1 : 0;
}
