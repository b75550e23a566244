#include "common/p9/describe.hpp"

#include "common/p9/codec.hpp"

namespace kvmsbx::p9 {
namespace {

class Describer {
  public:
    explicit Describer(std::span<char> out) : out_(out) {}

    template <typename... Fields>
    void operator()(const Fields&... fields) {
        [[maybe_unused]] const char* names = names_;
        (field(names, fields), ...);
    }

    template <typename M>
    void message(uint16_t tag, const M& m) {
        text(M::kName);
        text(" tag=");
        put(tag);
        names_ = M::kFieldNames;
        m.visit(*this);
    }

    void text(std::string_view string) {
        for (char c : string) character(c);
    }
    size_t length() const { return length_; }

  private:
    void character(char c) {
        if (length_ < out_.size()) out_[length_++] = c;
    }
    // Takes the next name off "a, b, c".
    template <typename T>
    void field(const char*& names, const T& value) {
        character(' ');
        while (*names == ' ' || *names == ',') names++;
        while (*names != '\0' && *names != ',') character(*names++);
        character('=');
        put(value);
    }
    template <std::unsigned_integral T>
    void put(T value) {
        char digits[20];
        size_t n = 0;
        uint64_t rest = value;
        do digits[n++] = static_cast<char>('0' + rest % 10);
        while ((rest /= 10) != 0);
        while (n > 0) character(digits[--n]);
    }
    void put(OptionalWord word) { put(word.value); }
    void put(std::string_view string) {
        character('"');
        for (char c : string) {
            auto byte = static_cast<uint8_t>(c);
            if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
                character(c);
            } else {
                text("\\x");
                character("0123456789abcdef"[byte >> 4]);
                character("0123456789abcdef"[byte & 15]);
            }
        }
        character('"');
    }
    void put(const Data& data) {
        put(static_cast<uint32_t>(data.bytes.size()));
        text(" bytes");
    }
    template <typename T, size_t kMax>
    void put(const List<T, kMax>& list) {
        character('[');
        for (uint16_t i = 0; i < list.count && i < kMax; i++) {
            if (i != 0) text(", ");
            put(list.items[i]);
        }
        character(']');
    }
    template <Structure T>
    void put(const T& structure) {
        character('{');
        names_ = T::kFieldNames;
        structure.visit(*this);
        text(" }");
    }

    std::span<char> out_;
    size_t length_ = 0;
    const char* names_ = "";
};

}  // namespace

size_t describe(std::span<const uint8_t> message, std::span<char> out) {
    Describer describer(out);
    Result<Header> header = decode_header(message);
    if (header.is_error()) {
        describer.text("malformed header");
        return describer.length();
    }
    bool known = AllMessages::dispatch(header->type, [&]<typename M>() {
        M m;
        if (decode(message, m).is_ok())
            describer.message(header->tag, m);
        else {
            describer.text("malformed ");
            describer.text(M::kName);
        }
    });
    if (!known) describer.text("message of an unknown type");
    return describer.length();
}

}  // namespace kvmsbx::p9
