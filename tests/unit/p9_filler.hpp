#pragma once
// Fills the fields of any 9P message from a source of numbers: random messages for round-trip tests and fuzzers.
#include <string>

#include "common/p9/codec.hpp"

namespace kvmsbx::p9 {

class Filler {
  public:
    explicit Filler(uint64_t seed) : state_(seed * 2 + 1) {}

    template <typename... Fields>
    void operator()(Fields&... fields) {
        (fill(fields), ...);
    }
    uint64_t next() {
        state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
        return state_ >> 17;
    }

  private:
    template <std::unsigned_integral T>
    void fill(T& value) {
        value = static_cast<T>(next() * 0x10001);
    }
    void fill(OptionalWord& word) { fill(word.value); }
    void fill(std::string_view& string) {
        static const std::string kText(300, 'x');
        string = std::string_view(kText).substr(0, next() % 300);
    }
    void fill(Data& data) {
        static const uint8_t kBytes[1000] = {1, 2, 3};
        data.bytes = std::span(kBytes).first(next() % 1000);
    }
    template <typename T, size_t kMax>
    void fill(List<T, kMax>& list) {
        list.count = static_cast<uint16_t>(next() % (kMax + 1));
        for (uint16_t i = 0; i < list.count; i++) fill(list.items[i]);
    }
    template <Structure T>
    void fill(T& structure) {
        structure.visit(*this);
    }

    uint64_t state_;
};

}  // namespace kvmsbx::p9
