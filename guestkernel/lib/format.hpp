#pragma once
// Text formatting for logs and procfs: "{}" prints the next argument, "{x}" in hexadecimal, "{8}" at least 8 wide,
// "{08x}" filled with zeroes, "{{" a brace. The number of placeholders is checked at compile time.
#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "guestkernel/lib/string.hpp"

namespace kvmsbx {

// Where formatted text goes.
class TextSink {
  public:
    virtual void put(std::string_view text) = 0;

  protected:
    ~TextSink() = default;
};

// A sink of fixed size; text beyond it is cut. Always NUL-terminated.
template <size_t N>
class FixedText final : public TextSink {
  public:
    void put(std::string_view text) override {
        for (char c : text)
            if (size_ + 1 < N) buffer_[size_++] = c;
        buffer_[size_] = '\0';
    }
    std::string_view view() const { return {buffer_, size_}; }
    const char* c_str() const { return buffer_; }

  private:
    char buffer_[N];
    size_t size_ = 0;
};

// A sink that grows a String; remembers if memory ran out.
class StringText final : public TextSink {
  public:
    void put(std::string_view text) override {
        if (string_.append(text).is_error()) failed_ = true;
    }
    Result<String> take() {
        if (failed_) return Errno::kNOMEM;
        return std::move(string_);
    }

  private:
    String string_;
    bool failed_ = false;
};

namespace format_detail {

struct Spec {
    bool hex = false;
    unsigned width = 0;
    char fill = ' ';
};

void put_unsigned(TextSink& sink, uint64_t value, Spec spec);
void put_signed(TextSink& sink, int64_t value, Spec spec);
// Puts the text up to the next placeholder, which it parses; `rest` then starts behind it.
Spec put_literal(TextSink& sink, std::string_view& rest);

template <typename T>
void put_argument(TextSink& sink, const T& value, Spec spec) {
    if constexpr (std::is_same_v<T, bool>)
        sink.put(value ? "true" : "false");
    else if constexpr (std::is_same_v<T, char>)
        sink.put(std::string_view(&value, 1));
    else if constexpr (std::is_enum_v<T>)
        put_argument(sink, static_cast<std::underlying_type_t<T>>(value), spec);
    else if constexpr (std::signed_integral<T>)
        put_signed(sink, value, spec);
    else if constexpr (std::unsigned_integral<T>)
        put_unsigned(sink, value, spec);
    else
        sink.put(std::string_view(value));
}

consteval size_t count_placeholders(std::string_view text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '{') continue;
        if (i + 1 < text.size() && text[i + 1] == '{')
            ++i;
        else
            ++count;
    }
    return count;
}

}  // namespace format_detail

template <typename... Args>
struct FormatString {
    template <size_t N>
    consteval FormatString(const char (&text)[N]) : view(text, N - 1) {
        if (format_detail::count_placeholders(view) != sizeof...(Args)) __builtin_abort();
    }
    std::string_view view;
};

template <typename... Args>
void format_to(TextSink& sink, FormatString<std::type_identity_t<Args>...> text, const Args&... args) {
    std::string_view rest = text.view;
    ((format_detail::put_argument(sink, args, format_detail::put_literal(sink, rest))), ...);
    format_detail::put_literal(sink, rest);
}

// A line for the VMM's log (--debug).
void log_line(std::string_view line);
bool debug_enabled();

template <typename... Args>
void debug(FormatString<std::type_identity_t<Args>...> text, const Args&... args) {
    if (!debug_enabled()) return;
    FixedText<1024> line;
    format_to<Args...>(line, text, args...);
    log_line(line.view());
}

}  // namespace kvmsbx
