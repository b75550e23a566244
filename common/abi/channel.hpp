#pragma once
// The channel region between Sentry and gofer: a memfd that the guest maps at kChannelGpa and the gofer by mmap, and
// the only memory they share. Boundary 3. Version in ChannelHeader.
//
//   0x0000  ChannelHeader            written once by the driver (Sentry) before its first doorbell
//   0x1000  descriptor table         the split virtqueue of virtio 1.2, section 2.7, with VIRTIO_F_EVENT_IDX always on;
//   0x2000  avail ring (+used_event) `addr` of a descriptor is an OFFSET into the region, not an address
//   0x3000  used ring (+avail_event)
//   0x10000 slots                    kChannelSlots pairs: request buffer, reply buffer
//
// Slot n uses descriptors 2n (request, readable by the gofer) and 2n+1 (reply, writable by the gofer); the head of its
// chain is 2n. One chain carries one 9P T-message and gets its R-message. All integers are little-endian. Neither side
// may trust a byte that the other can write: copy, then check. Direction: D = written by the driver (Sentry), V =
// written by the device (gofer).
#include <cstddef>
#include <cstdint>

namespace kvmsbx::abi {

inline constexpr uint64_t kChannelMagic = 0x31'6e'61'68'63'78'76'6bULL;  // "kvxchan1"
inline constexpr uint32_t kChannelVersion = 1;

inline constexpr uint64_t kChannelSize = 8 * 1024 * 1024;  // bytes; only touched pages cost memory
inline constexpr uint32_t kQueueSize = 64;                 // descriptors; a power of two
inline constexpr uint32_t kChannelSlots = 24;              // requests in flight
// Bytes of one buffer: 128 KiB of file data and a header. Also the largest msize.
inline constexpr uint32_t kSlotBufferSize = 0x21000;
inline constexpr uint64_t kDescriptorsOffset = 0x1000;
inline constexpr uint64_t kAvailOffset = 0x2000;
inline constexpr uint64_t kUsedOffset = 0x3000;
inline constexpr uint64_t kSlotsOffset = 0x10000;

struct ChannelHeader {  // D
    uint64_t magic;
    uint32_t version;
    uint32_t header_size;  // sizeof(ChannelHeader)
    uint64_t channel_size;
    uint32_t queue_size;
    uint32_t slots;
    uint32_t slot_buffer_size;
    uint32_t pad;
};
static_assert(sizeof(ChannelHeader) == 40 && offsetof(ChannelHeader, channel_size) == 16 &&
              offsetof(ChannelHeader, slot_buffer_size) == 32);

inline constexpr uint16_t kDescriptorNext = 1;      // VIRTQ_DESC_F_NEXT
inline constexpr uint16_t kDescriptorWrite = 2;     // VIRTQ_DESC_F_WRITE: the device writes this buffer
inline constexpr uint16_t kDescriptorIndirect = 4;  // VIRTQ_DESC_F_INDIRECT: refused

struct Descriptor {   // D
    uint64_t offset;  // into the channel region
    uint32_t length;  // bytes
    uint16_t flags;
    uint16_t next;
};
static_assert(sizeof(Descriptor) == 16 && offsetof(Descriptor, flags) == 12);

struct AvailRing {   // D
    uint16_t flags;  // 0
    uint16_t index;  // free-running: where the driver puts the next head
    uint16_t ring[kQueueSize];
    uint16_t used_event;  // interrupt me when the used index passes this one
};
static_assert(sizeof(AvailRing) == 6 + 2 * kQueueSize);

struct UsedElement {
    uint32_t id;      // head of the chain
    uint32_t length;  // bytes written into the writable buffers
};

struct UsedRing {    // V
    uint16_t flags;  // 0
    uint16_t index;
    UsedElement ring[kQueueSize];
    uint16_t avail_event;  // ring the doorbell when the avail index passes this one
    uint16_t pad;
};
static_assert(sizeof(UsedRing) == 8 + 8 * kQueueSize && offsetof(UsedRing, ring) == 4);

constexpr uint64_t request_offset(uint32_t slot) { return kSlotsOffset + uint64_t{slot} * 2 * kSlotBufferSize; }
constexpr uint64_t reply_offset(uint32_t slot) { return request_offset(slot) + kSlotBufferSize; }

static_assert((kQueueSize & (kQueueSize - 1)) == 0 && 2 * kChannelSlots <= kQueueSize);
static_assert(sizeof(Descriptor) * kQueueSize <= kAvailOffset - kDescriptorsOffset);
static_assert(request_offset(kChannelSlots) <= kChannelSize);

}  // namespace kvmsbx::abi
