#include "guestkernel/lib/format.hpp"

namespace kvmsbx::format_detail {

namespace {

// printf's: blanks before the sign, zeroes behind it.
void put_number(TextSink& sink, std::string_view sign, uint64_t value, Spec spec) {
    char digits[24];
    unsigned at = sizeof digits;
    const unsigned base = spec.hex ? 16 : 10;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    const bool zeroes = spec.fill == '0';
    if (zeroes) sink.put(sign);
    for (size_t length = sizeof digits - at + sign.size(); length < spec.width; ++length)
        sink.put(std::string_view(&spec.fill, 1));
    if (!zeroes) sink.put(sign);
    sink.put(std::string_view(digits + at, sizeof digits - at));
}

}  // namespace

void put_unsigned(TextSink& sink, uint64_t value, Spec spec) { put_number(sink, "", value, spec); }

void put_signed(TextSink& sink, int64_t value, Spec spec) {
    const bool negative = value < 0;
    put_number(sink, negative ? "-" : "", negative ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value),
               spec);
}

Spec put_literal(TextSink& sink, std::string_view& rest) {
    size_t start = 0;
    for (size_t i = 0; i < rest.size(); ++i) {
        if (rest[i] != '{') continue;
        if (i + 1 < rest.size() && rest[i + 1] == '{') {
            sink.put(rest.substr(start, i + 1 - start));
            start = ++i + 1;
            continue;
        }
        sink.put(rest.substr(start, i - start));
        Spec spec;
        for (++i; i < rest.size() && rest[i] != '}'; ++i) {
            if (rest[i] == 'x')
                spec.hex = true;
            else if (rest[i] == '0' && spec.width == 0)
                spec.fill = '0';
            else if (rest[i] >= '0' && rest[i] <= '9')
                spec.width = spec.width * 10 + static_cast<unsigned>(rest[i] - '0');
        }
        rest.remove_prefix(i + 1 < rest.size() ? i + 1 : rest.size());
        return spec;
    }
    sink.put(rest.substr(start));
    rest = {};
    return {};
}

}  // namespace kvmsbx::format_detail
