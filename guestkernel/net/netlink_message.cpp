#include "guestkernel/net/netlink_message.hpp"

namespace kvmsbx::net {
namespace {

struct AttributeHeader {  // struct rtattr
    uint16_t length, type;
};
constexpr uint16_t kTypeMask = 0x3fff;  // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

}  // namespace

std::span<const std::byte> NetlinkMessage::attribute(size_t fixed, uint16_t type) const {
    fixed = netlink_align(fixed);
    if (body.size() < fixed) return {};
    std::span<const std::byte> rest = body.subspan(fixed);
    while (rest.size() >= sizeof(AttributeHeader)) {
        AttributeHeader header;
        __builtin_memcpy(&header, rest.data(), sizeof header);
        if (header.length < sizeof header || header.length > rest.size()) return {};
        if ((header.type & kTypeMask) == type) return rest.subspan(sizeof header, header.length - sizeof header);
        const size_t step = netlink_align(header.length);
        if (step >= rest.size()) return {};
        rest = rest.subspan(step);
    }
    return {};
}

bool NetlinkReader::next(NetlinkMessage& out) {
    if (rest_.size() < sizeof(NetlinkHeader)) return false;
    __builtin_memcpy(&out.header, rest_.data(), sizeof out.header);
    const size_t length = out.header.length;
    if (length < sizeof(NetlinkHeader) || length > rest_.size()) return false;
    out.all = rest_.first(length);
    out.body = out.all.subspan(sizeof(NetlinkHeader));
    const size_t step = netlink_align(length);
    rest_ = rest_.subspan(step < rest_.size() ? step : rest_.size());
    return true;
}

void NetlinkWriter::put_raw(const void* data, size_t size) {
    const size_t at = bytes_.size();
    if (failed_ || bytes_.resize(at + size).is_error()) {
        failed_ = true;
        return;
    }
    if (size > 0) __builtin_memcpy(bytes_.data() + at, data, size);
}

// The bytes, padded. The message's length does not count the padding, but for that of attributes.
void NetlinkWriter::put_bytes(const void* data, size_t size) {
    constexpr std::byte kPadding[4] = {};
    put_raw(data, size);
    const auto length = static_cast<uint32_t>(bytes_.size() - start_);
    put_raw(kPadding, netlink_align(size) - size);
    if (!failed_) __builtin_memcpy(bytes_.data() + start_, &length, sizeof length);
}

void NetlinkWriter::begin(uint16_t type, uint16_t flags, uint32_t sequence, uint32_t port) {
    start_ = bytes_.size();
    put(NetlinkHeader{sizeof(NetlinkHeader), type, flags, sequence, port});
}

void NetlinkWriter::attribute_bytes(uint16_t type, const void* data, size_t size) {
    put(AttributeHeader{static_cast<uint16_t>(sizeof(AttributeHeader) + size), type});
    put_bytes(data, size);
    const auto length = static_cast<uint32_t>(bytes_.size() - start_);
    if (!failed_) __builtin_memcpy(bytes_.data() + start_, &length, sizeof length);
}

NetlinkWriter::Nest NetlinkWriter::begin_nest(uint16_t type) {
    const Nest nest = bytes_.size();
    attribute_bytes(type, nullptr, 0);
    return nest;
}

void NetlinkWriter::end_nest(Nest nest) {
    const auto length = static_cast<uint16_t>(bytes_.size() - nest);
    if (!failed_) __builtin_memcpy(bytes_.data() + nest, &length, sizeof length);
}

void NetlinkWriter::text_attribute(uint16_t type, std::string_view text) {
    char copy[32] = {};
    const size_t size = text.copy(copy, sizeof copy - 1);
    attribute_bytes(type, copy, size + 1);
}

void NetlinkWriter::zeroes_attribute(uint16_t type, size_t size) {
    static constexpr std::byte kZeroes[256] = {};
    attribute_bytes(type, kZeroes, size < sizeof kZeroes ? size : sizeof kZeroes);
}

Result<Vector<std::byte>> NetlinkWriter::take() {
    if (failed_) return Errno::kNOMEM;
    return std::move(bytes_);
}

}  // namespace kvmsbx::net
