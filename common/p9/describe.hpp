#pragma once
// Prints messages for logs: "Twalk tag=1 fid=3 newfid=4 names=[\"usr\", \"bin\"]". Made from the field lists of
// messages.hpp; freestanding; no allocation.
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvmsbx::p9 {

// Decodes and prints one message of any type; gives the number of characters (no NUL). Bytes that do not print are
// shown as \xNN; what does not fit into `out` is cut.
size_t describe(std::span<const uint8_t> message, std::span<char> out);

}  // namespace kvmsbx::p9
