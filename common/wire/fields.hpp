#pragma once
// One declaration per message or nested structure: its fields, in wire order. Encoding, decoding, printing and fuzzing
// all work on that list, so that no field can be written and not read.
#include <cstdint>

#define KVMSBX_WIRE_FIELDS(...)                              \
    static constexpr const char* kFieldNames = #__VA_ARGS__; \
    template <typename V>                                    \
    constexpr auto visit(V&& visitor) {                      \
        return visitor(__VA_ARGS__);                         \
    }                                                        \
    template <typename V>                                    \
    constexpr auto visit(V&& visitor) const {                \
        return visitor(__VA_ARGS__);                         \
    }

namespace kvmsbx::wire {

template <typename T>
concept Structure = requires {
    T::kFieldNames;
};

}  // namespace kvmsbx::wire
