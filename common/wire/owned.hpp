#pragma once
// The host's side of the wire structures: texts and lists that own what they hold.
#include <string>
#include <vector>

#include "common/wire/codec.hpp"

namespace kvmsbx::wire {

struct Owned {
    using Text = std::string;
    template <typename T>
    using List = std::vector<T>;
};

template <Structure T>
std::vector<uint8_t> encode(const T& structure) {
    std::vector<uint8_t> bytes(encoded_size(structure));
    Encoder encoder(bytes);
    encoder.put(structure);
    return bytes;
}

}  // namespace kvmsbx::wire
