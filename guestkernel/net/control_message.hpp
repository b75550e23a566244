#pragma once
// The control buffer of sendmsg(2) as bytes: a row of cmsghdr, each with its data, at multiples of 8 (cmsg(3)).
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/result.hpp"

namespace kvmsbx::net {

inline constexpr int kSolSocket = 1;
inline constexpr int kScmRights = 1, kScmCredentials = 2, kScmPidfd = 4, kScmTimestamp = 29, kScmTimestampNs = 35;
inline constexpr size_t kScmMaxFiles = 253;  // SCM_MAX_FD

struct ControlHeader {  // struct cmsghdr
    uint64_t length;    // with this header
    int32_t level, type;
};
static_assert(sizeof(ControlHeader) == 16);

constexpr uint64_t control_align(uint64_t size) { return (size + 7) & ~uint64_t{7}; }  // CMSG_ALIGN
constexpr uint64_t control_length(uint64_t data) { return sizeof(ControlHeader) + data; }
constexpr uint64_t control_space(uint64_t data) { return sizeof(ControlHeader) + control_align(data); }

struct ControlMessage {
    int32_t level, type;
    std::span<const std::byte> data;
};

// Takes the messages out of any bytes, front to back.
class ControlReader {
  public:
    explicit ControlReader(std::span<const std::byte> bytes) : rest_(bytes) {}
    // False at the end (what is left is too short for a header). EINVAL: a length that cannot be.
    Result<bool> next(ControlMessage& out);

  private:
    std::span<const std::byte> rest_;
};

}  // namespace kvmsbx::net
