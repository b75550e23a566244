#pragma once
// Encodes and decodes structures by their field lists (fields.hpp). Freestanding; no allocation.
//
// Integers and enums are little-endian, of their own size; a bool is one byte, 0 or 1. A text is a 32-bit length and
// that many bytes, without NUL inside. A list is a 32-bit count and its elements. The decoder never reads outside its
// span and checks every length, count and bool; what it gives points into that span, which must be memory that nobody
// changes.
//
// Structures exist in kinds by a template parameter: wire::Viewed (texts and lists are views of the encoded bytes)
// for who reads, and wire::Owned (owned.hpp: std::string, std::vector) for who writes on the host.
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "common/base/result.hpp"
#include "common/wire/fields.hpp"

namespace kvmsbx::wire {

template <typename T>
concept Integer = (std::integral<T> || std::is_enum_v<T>)&&!std::same_as<T, bool>;
template <typename T>
concept Text = std::convertible_to<const T&, std::string_view>;

namespace details {
template <typename T, bool = std::is_enum_v<T>>
struct Underlying {
    using Type = std::make_unsigned_t<std::underlying_type_t<T>>;
};
template <typename T>
struct Underlying<T, false> {
    using Type = std::make_unsigned_t<T>;
};
}  // namespace details

template <typename T>
class Sequence;

class Decoder {
  public:
    explicit Decoder(std::span<const uint8_t> in) : in_(in) {}

    template <typename... Fields>
    void operator()(Fields&... fields) {
        (get(fields), ...);
    }

    template <Integer T>
    void get(T& value) {
        using Word = typename details::Underlying<T>::Type;
        if (!available(sizeof(Word))) return;
        uint64_t word = 0;
        for (size_t i = 0; i < sizeof(Word); i++) word |= static_cast<uint64_t>(in_[position_ + i]) << (8 * i);
        value = static_cast<T>(static_cast<Word>(word));
        position_ += sizeof(Word);
    }
    void get(bool& value) {
        uint8_t byte = 0;
        get(byte);
        bad_ |= byte > 1;
        value = byte == 1;
    }
    void get(std::string_view& text) {
        uint32_t length = 0;
        get(length);
        if (!available(length)) return;
        // SAFETY: bytes of the span, in bounds; any byte is a valid char.
        text = {reinterpret_cast<const char*>(in_.data()) + position_, length};
        bad_ |= text.find('\0') != text.npos;
        position_ += length;
    }
    template <typename T>
    void get(Sequence<T>& sequence);
    template <Structure T>
    void get(T& structure) {
        structure.visit(*this);
    }

    size_t position() const { return position_; }
    bool bad() const { return bad_; }
    bool done() const { return position_ == in_.size(); }

  private:
    bool available(size_t n) {
        if (bad_ || n > in_.size() - position_) bad_ = true;
        return !bad_;
    }

    std::span<const uint8_t> in_;
    size_t position_ = 0;
    bool bad_ = false;
};

// A list that stays encoded: its elements were checked when it was decoded, and are decoded again as they are visited.
template <typename T>
class Sequence {
  public:
    class Iterator {
      public:
        Iterator(std::span<const uint8_t> rest, uint32_t left) : rest_(rest), left_(left) { load(); }
        const T& operator*() const { return item_; }
        Iterator& operator++() {
            rest_ = rest_.subspan(size_);
            --left_;
            load();
            return *this;
        }
        bool operator!=(const Iterator& other) const { return left_ != other.left_; }

      private:
        void load() {
            if (left_ == 0) return;
            Decoder decoder(rest_);
            item_ = T{};
            decoder.get(item_);
            size_ = decoder.position();
        }
        std::span<const uint8_t> rest_;
        uint32_t left_;
        size_t size_ = 0;
        T item_{};
    };

    uint32_t size() const { return count_; }
    bool empty() const { return count_ == 0; }
    Iterator begin() const { return {bytes_, count_}; }
    Iterator end() const { return {{}, 0}; }
    // The first element; not for an empty list.
    T front() const { return *begin(); }

  private:
    friend class Decoder;
    std::span<const uint8_t> bytes_;
    uint32_t count_ = 0;
};

template <typename T>
void Decoder::get(Sequence<T>& sequence) {
    uint32_t count = 0;
    get(count);
    const size_t start = position_;
    for (uint32_t i = 0; i < count && !bad_; i++) {
        T item{};
        get(item);
    }
    if (bad_) return;
    sequence.bytes_ = in_.subspan(start, position_ - start);
    sequence.count_ = count;
}

// Writes into a span; with an empty one it only counts.
class Encoder {
  public:
    explicit Encoder(std::span<uint8_t> out) : out_(out) {}

    template <typename... Fields>
    void operator()(const Fields&... fields) {
        (put(fields), ...);
    }

    template <Integer T>
    void put(T value) {
        using Word = typename details::Underlying<T>::Type;
        const auto word = static_cast<Word>(value);
        for (size_t i = 0; i < sizeof(Word); i++) byte(static_cast<uint8_t>(static_cast<uint64_t>(word) >> (8 * i)));
    }
    void put(bool value) { byte(value ? 1 : 0); }
    void put(std::string_view text) {
        put(static_cast<uint32_t>(text.size()));
        for (char c : text) byte(static_cast<uint8_t>(c));
    }
    template <Structure T>
    void put(const T& structure) {
        structure.visit(*this);
    }
    // Any container of fields.
    template <typename List>
    requires(!Text<List> && !Structure<List> &&
             requires(const List& l) { l.begin(), l.end(), l.size(); }) void put(const List& list) {
        put(static_cast<uint32_t>(list.size()));
        for (const auto& item : list) put(item);
    }

    // Bytes that the whole takes, whether they fitted or not.
    size_t position() const { return position_; }
    bool overflow() const { return position_ > out_.size(); }

  private:
    void byte(uint8_t value) {
        if (position_ < out_.size()) out_[position_] = value;
        position_++;
    }

    std::span<uint8_t> out_;
    size_t position_ = 0;
};

template <Structure T>
size_t encoded_size(const T& structure) {
    Encoder encoder({});
    encoder.put(structure);
    return encoder.position();
}

// Decodes exactly one T that fills `in`. kPROTO: a field out of bounds, or bytes left over.
template <Structure T>
Result<T> decode(std::span<const uint8_t> in) {
    T value{};
    Decoder decoder(in);
    decoder.get(value);
    if (decoder.bad() || !decoder.done()) return Errno::kPROTO;
    return value;
}

struct Viewed {
    using Text = std::string_view;
    template <typename T>
    using List = Sequence<T>;
};

// Borrowed texts and lists, for who writes without owning.
struct Borrowed {
    using Text = std::string_view;
    template <typename T>
    using List = std::span<const T>;
};

}  // namespace kvmsbx::wire
