#pragma once
// Encodes and decodes any message of messages.hpp by its field list. Freestanding; no allocation. The decoder never
// reads outside its span and checks every length and count; decoded strings and data point into that span, which must
// be memory that the other side cannot change (data excepted).
#include <concepts>
#include <type_traits>

#include "common/base/result.hpp"
#include "common/p9/messages.hpp"

namespace kvmsbx::p9 {

struct Header {
    uint32_t size = 0;  // bytes of the message, the header included
    uint8_t type = 0;
    uint16_t tag = 0;
};

using wire::Structure;

class Encoder {
  public:
    constexpr explicit Encoder(std::span<uint8_t> out) : out_(out) {}

    template <typename... Fields>
    constexpr void operator()(const Fields&... fields) {
        (put(fields), ...);
    }

    template <std::unsigned_integral T>
    constexpr void put(T value) {
        if (!reserve(sizeof(T))) return;
        for (size_t i = 0; i < sizeof(T); i++) out_[position_ + i] = static_cast<uint8_t>(value >> (8 * i));
        position_ += sizeof(T);
    }
    constexpr void put(OptionalWord word) { put(word.value); }
    constexpr void put(std::string_view string) {
        if (string.size() > 0xffff) {
            overflow_ = true;
            return;
        }
        put(static_cast<uint16_t>(string.size()));
        bytes(string.data(), string.size());
    }
    // Bytes that already lie where they belong (read straight into the buffer) are not copied.
    constexpr void put(const Data& data) {
        put(static_cast<uint32_t>(data.bytes.size()));
        bytes(data.bytes.data(), data.bytes.size());
    }
    template <typename T, size_t kMax>
    constexpr void put(const List<T, kMax>& list) {
        put(list.count);
        for (uint16_t i = 0; i < list.count && i < kMax; i++) put(list.items[i]);
    }
    template <Structure T>
    constexpr void put(const T& structure) {
        structure.visit(*this);
    }

    constexpr size_t position() const { return position_; }
    constexpr bool overflow() const { return overflow_; }

  private:
    constexpr bool reserve(size_t n) {
        if (n > out_.size() - position_) overflow_ = true;
        return !overflow_;
    }
    constexpr void bytes(const void* from, size_t n) {
        if (!reserve(n)) return;
        if (n != 0 && from != out_.data() + position_) __builtin_memmove(out_.data() + position_, from, n);
        position_ += n;
    }

    std::span<uint8_t> out_;
    size_t position_ = 0;
    bool overflow_ = false;
};

class Decoder {
  public:
    // With a payload, the bytes of the Data field are taken from there instead of from `in`.
    explicit Decoder(std::span<const uint8_t> in, std::span<const uint8_t> payload = {}) : in_(in), payload_(payload) {}

    template <typename... Fields>
    void operator()(Fields&... fields) {
        (get(fields), ...);
    }

    template <std::unsigned_integral T>
    void get(T& value) {
        if (!available(sizeof(T))) return;
        uint64_t result = 0;
        for (size_t i = 0; i < sizeof(T); i++) result |= static_cast<uint64_t>(in_[position_ + i]) << (8 * i);
        value = static_cast<T>(result);
        position_ += sizeof(T);
    }
    void get(OptionalWord& word) {
        if (position_ != in_.size()) get(word.value);
    }
    void get(std::string_view& string) {
        uint16_t length = 0;
        get(length);
        if (!available(length)) return;
        // SAFETY: bytes of the span, in bounds; any byte is a valid char.
        string = {reinterpret_cast<const char*>(in_.data()) + position_, length};
        position_ += length;
    }
    void get(Data& data) {
        uint32_t length = 0;
        get(length);
        if (payload_.data() != nullptr) {
            if (length > payload_.size()) bad_ = true;
            if (bad_) return;
            data.bytes = payload_.first(length);
            payload_ = payload_.subspan(length);
            return;
        }
        if (!available(length)) return;
        data.bytes = in_.subspan(position_, length);
        position_ += length;
    }
    template <typename T, size_t kMax>
    void get(List<T, kMax>& list) {
        uint16_t count = 0;
        get(count);
        if (count > kMax) {
            bad_ = true;
            return;
        }
        for (uint16_t i = 0; i < count && !bad_; i++) get(list.items[i]);
        list.count = bad_ ? 0 : count;
    }
    template <Structure T>
    void get(T& structure) {
        structure.visit(*this);
    }

    size_t position() const { return position_; }
    bool bad() const { return bad_; }
    bool done() const { return position_ == in_.size() && payload_.empty(); }

  private:
    bool available(size_t n) {
        if (n > in_.size() - position_) bad_ = true;
        return !bad_;
    }

    std::span<const uint8_t> in_;
    std::span<const uint8_t> payload_;
    size_t position_ = 0;
    bool bad_ = false;
};

// Writes the whole message; gives its size. kMSGSIZE: it does not fit into `out`.
template <typename M>
Result<uint32_t> encode(std::span<uint8_t> out, uint16_t tag, const M& message) {
    Encoder encoder(out);
    encoder(uint32_t{0}, M::kType, tag);
    message.visit(encoder);
    if (encoder.overflow()) return Errno::kMSGSIZE;
    uint32_t size = static_cast<uint32_t>(encoder.position());
    Encoder(out).put(size);
    return size;
}

// kPROTO: shorter than a header, or the size in it is less than a header's or more than the bytes there are.
inline Result<Header> decode_header(std::span<const uint8_t> in) {
    Header header;
    Decoder decoder(in);
    decoder(header.size, header.type, header.tag);
    if (decoder.bad() || header.size < kHeaderSize || header.size > in.size()) return Errno::kPROTO;
    return header;
}

// Decodes exactly one message of type M that fills `in`. kPROTO: another type, another size, a field out of bounds,
// bytes left over.
template <typename M>
Result<> decode(std::span<const uint8_t> in, M& message) {
    Header header = TRY(decode_header(in));
    if (header.type != M::kType || header.size != in.size()) return Errno::kPROTO;
    Decoder decoder(in.subspan(kHeaderSize));
    message.visit(decoder);
    if (decoder.bad() || !decoder.done()) return Errno::kPROTO;
    return {};
}

// Bytes before the payload in a message whose last field is Data: where to read file contents to, so that encode() need
// not copy them.
template <typename M>
constexpr uint32_t data_offset() {
    uint8_t scratch[256]{};
    Encoder encoder(scratch);
    encoder(uint32_t{0}, M::kType, kNoTag);
    M{}.visit(encoder);
    return static_cast<uint32_t>(encoder.position());
}

// Decodes a message whose last field is Data out of memory that the other side can change meanwhile: all but the
// payload is copied first, once. The payload stays where it is (its bytes may change, its bounds not). `in` is the
// whole message.
template <typename M>
Result<> decode_shared(std::span<const uint8_t> in, M& message) {
    constexpr uint32_t kFixed = data_offset<M>();
    uint8_t copy[kFixed];
    if (in.size() < kFixed) return Errno::kPROTO;
    for (uint32_t i = 0; i < kFixed; i++) copy[i] = const_cast<const volatile uint8_t&>(in[i]);
    Decoder decoder(copy, in.subspan(kFixed));
    Header header;
    decoder(header.size, header.type, header.tag);
    if (header.type != M::kType || header.size != in.size()) return Errno::kPROTO;
    message.visit(decoder);
    if (decoder.bad() || !decoder.done()) return Errno::kPROTO;
    return {};
}

// What a client does with a reply: kPROTO as above, or the errno of an Rlerror (kIO when that is not an errno that
// Linux shows to applications).
template <typename R>
Result<> decode_reply(std::span<const uint8_t> in, R& reply) {
    Header header = TRY(decode_header(in));
    if (header.type != Rlerror::kType) return decode(in, reply);
    Rlerror error;
    TRY(decode(in.first(header.size), error));
    return error.ecode == 0 || error.ecode > 133 ? Errno::kIO : static_cast<Errno>(error.ecode);
}

// The same for a reply that ends in Data and still lies in shared memory.
template <typename R>
Result<> decode_shared_reply(std::span<const uint8_t> in, R& reply) {
    constexpr uint32_t kErrorSize = kHeaderSize + 4;
    if (in.size() != kErrorSize) return decode_shared(in, reply);
    uint8_t copy[kErrorSize];
    for (uint32_t i = 0; i < kErrorSize; i++) copy[i] = const_cast<const volatile uint8_t&>(in[i]);
    return decode_reply(std::span<const uint8_t>(copy), reply);
}

// Takes the next entry off Rreaddir's or Rreaddirattr's data. False: none is left. kPROTO: malformed.
template <Structure Entry>
Result<bool> next_entry(std::span<const uint8_t>& data, Entry& entry) {
    if (data.empty()) return false;
    Decoder decoder(data);
    decoder.get(entry);
    if (decoder.bad()) return Errno::kPROTO;
    data = data.subspan(decoder.position());
    return true;
}

}  // namespace kvmsbx::p9
