#pragma once
// Netlink messages as bytes (netlink(7), rtnetlink(7)): a header, a family's own struct, attributes. Reading is bounded
// by what is there; writing can run out of memory, which is remembered and told at the end.
#include <cstdint>
#include <span>
#include <string_view>

#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::net {

struct NetlinkHeader {  // struct nlmsghdr
    uint32_t length;    // with this header
    uint16_t type, flags;
    uint32_t sequence, port;
};
static_assert(sizeof(NetlinkHeader) == 16);

inline constexpr uint16_t kNlmsgError = 2, kNlmsgDone = 3, kNlmsgFirstType = 16;
inline constexpr uint16_t kNlmRequest = 1, kNlmMulti = 2, kNlmAck = 4, kNlmCapped = 0x100, kNlmDump = 0x300;

constexpr size_t netlink_align(size_t size) { return (size + 3) & ~size_t{3}; }

// One message as it lies in the sender's buffer.
struct NetlinkMessage {
    NetlinkHeader header{};
    std::span<const std::byte> all;   // with the header; as long as it says
    std::span<const std::byte> body;  // behind the header
    // The family's struct at the body's start. False: too short.
    template <typename T>
    bool load(T& to) const {
        if (body.size() < sizeof to) return false;
        __builtin_memcpy(&to, body.data(), sizeof to);
        return true;
    }
    // The data of the first attribute of the type, behind `fixed` bytes of the family's struct. Empty: none.
    std::span<const std::byte> attribute(size_t fixed, uint16_t type) const;
};

// Takes messages out of any bytes, front to back.
class NetlinkReader {
  public:
    explicit NetlinkReader(std::span<const std::byte> bytes) : rest_(bytes) {}
    // False: at the end, or what is left is no message.
    bool next(NetlinkMessage& out);

  private:
    std::span<const std::byte> rest_;
};

// Writes messages one behind the other.
class NetlinkWriter {
  public:
    // Starts a message; the one before it is complete.
    void begin(uint16_t type, uint16_t flags, uint32_t sequence, uint32_t port);
    template <typename T>
    void put(const T& value) {
        put_bytes(&value, sizeof value);
    }
    template <typename T>
    void attribute(uint16_t type, const T& value) {
        attribute_bytes(type, &value, sizeof value);
    }
    void text_attribute(uint16_t type, std::string_view text);  // NUL-terminated
    void zeroes_attribute(uint16_t type, size_t size);
    void attribute_bytes(uint16_t type, const void* data, size_t size);
    void put_bytes(const void* data, size_t size);
    // An attribute that holds attributes: those written until its end.
    using Nest = size_t;  // where it lies
    Nest begin_nest(uint16_t type);
    void end_nest(Nest nest);
    // All that was written. ENOMEM.
    Result<Vector<std::byte>> take();
    bool empty() const { return bytes_.empty(); }

  private:
    void put_raw(const void* data, size_t size);
    Vector<std::byte> bytes_;
    size_t start_ = 0;  // of the present message
    bool failed_ = false;
};

}  // namespace kvmsbx::net
