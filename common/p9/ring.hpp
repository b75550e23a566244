#pragma once
// The two ends of the virtqueue in the channel region (common/abi/channel.hpp): RingDriver in the Sentry, RingDevice in
// the gofer.
//
// Each end keeps its own indices and its own record of what is in flight in private memory and treats everything that
// the other end can write as hostile: it is read once (atomically), then checked. The driver never reads a descriptor
// back. A violation gives Errno::kPROTO and leaves the ring `broken()`: the other side is malicious or defective, so
// the connection ends; no recovery is attempted.
//
// Wake-ups (virtio 1.2, 2.7.7 and 2.7.10, event index). An end that wants to be woken publishes the index at which it
// sleeps, makes a full barrier, and looks once more before it sleeps. An end that polls just leaves its event index
// behind, and the other one makes no wake-up.
//
//   driver:  slot = acquire(); encode into request(slot); submit(slot, n); if (kick_needed()) doorbell;
//            while nothing: poll() for a while, or if (!arm()) poll again, else sleep until the interrupt;
//            decode a copy of reply(slot); release(slot)
//   device:  pop() -> serve -> push(); if (interrupt_needed()) signal the completion eventfd;
//            when pop() has nothing: poll a while; if (!arm()) pop again, else read(doorbell eventfd)
//
// Not thread-safe: each end is used under one lock or by one thread. Freestanding; no allocation.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/abi/channel.hpp"
#include "common/base/result.hpp"

namespace kvmsbx::p9 {

// The shared structures, as pointers into a region of at least abi::kChannelSize bytes, page aligned.
class ChannelView {
  public:
    ChannelView() = default;
    explicit ChannelView(std::span<uint8_t> region) : base_(region.data()) {}
    // SAFETY (all four): the region is page aligned and kChannelSize long (checked by attach and initialize), the
    // offsets are constants within it, the types are trivial; racing accesses go through std::atomic_ref below.
    abi::ChannelHeader& header() const { return *reinterpret_cast<abi::ChannelHeader*>(base_); }
    abi::Descriptor* descriptors() const { return reinterpret_cast<abi::Descriptor*>(base_ + abi::kDescriptorsOffset); }
    abi::AvailRing& avail() const { return *reinterpret_cast<abi::AvailRing*>(base_ + abi::kAvailOffset); }
    abi::UsedRing& used() const { return *reinterpret_cast<abi::UsedRing*>(base_ + abi::kUsedOffset); }
    uint8_t* bytes(uint64_t offset) const { return base_ + offset; }

  private:
    uint8_t* base_ = nullptr;
};

namespace ring_detail {

template <typename T>
T load(T& shared, std::memory_order order = std::memory_order_relaxed) {
    return std::atomic_ref<T>(shared).load(order);
}
template <typename T>
void store(T& shared, T value, std::memory_order order = std::memory_order_relaxed) {
    std::atomic_ref<T>(shared).store(value, order);
}
inline void full_barrier() { std::atomic_thread_fence(std::memory_order_seq_cst); }

// vring_need_event of virtio 1.2, 2.7.10: has the index moved from `old` past `event` by now?
constexpr bool need_event(uint16_t event, uint16_t now, uint16_t old) {
    return static_cast<uint16_t>(now - event - 1) < static_cast<uint16_t>(now - old);
}
inline constexpr uint16_t kIndexMask = abi::kQueueSize - 1;

}  // namespace ring_detail

struct Completion {
    uint32_t slot;
    uint32_t length;  // bytes of the reply; at most the reply buffer's size
};

// The Sentry's end.
class RingDriver {
  public:
    // Takes a zeroed or used region into use: clears the queue and writes the header. kINVAL when it is too small or
    // not page aligned.
    Result<> initialize(std::span<uint8_t> region);

    // A free slot for a request, or kAGAIN when all abi::kChannelSlots are taken.
    Result<uint32_t> acquire();
    // Gives a slot back; it must not be in flight.
    void release(uint32_t slot);

    std::span<uint8_t> request(uint32_t slot) const {
        return {view_.bytes(abi::request_offset(slot)), abi::kSlotBufferSize};
    }
    // The gofer can still change these bytes: copy the header of the message before decoding it.
    std::span<const uint8_t> reply(uint32_t slot) const {
        return {view_.bytes(abi::reply_offset(slot)), abi::kSlotBufferSize};
    }

    // Makes `request_length` bytes of the slot's request buffer visible to the gofer. The slot is in flight until
    // poll() returns it.
    void submit(uint32_t slot, uint32_t request_length);
    // Whether the doorbell must ring for what was submitted since the last call.
    bool kick_needed();

    // Whether poll() may have something (one load; nothing is taken).
    bool has_completion() const;
    // One completed slot, if there is one (slot == kNoSlot: none). kPROTO: the gofer broke the rules.
    static constexpr uint32_t kNoSlot = ~0u;
    Result<Completion> poll();
    // Asks for an interrupt at the next completion. False: one is already there, poll() again instead of sleeping.
    bool arm();

    bool broken() const { return broken_; }
    uint32_t in_flight() const { return in_flight_; }

  private:
    enum class SlotState : uint8_t { kFree, kTaken, kInFlight };
    Errno fail() {
        broken_ = true;
        return Errno::kPROTO;
    }

    ChannelView view_;
    std::array<SlotState, abi::kChannelSlots> slots_{};
    uint32_t in_flight_ = 0;
    uint16_t avail_index_ = 0;
    uint16_t kicked_index_ = 0;
    uint16_t used_index_ = 0;
    bool broken_ = false;
};

// One request as the device sees it: bytes of the region, inside bounds. The readable ones can change under the reader.
struct Chain {
    uint16_t head = 0;
    std::span<const uint8_t> request;
    std::span<uint8_t> reply;
};

// The gofer's end.
class RingDevice {
  public:
    // kINVAL: the region is too small or not page aligned.
    Result<> attach(std::span<uint8_t> region);
    // Whether the driver wrote a header of this version (called at the first doorbell). kPROTO: it did not.
    Result<> check_header() const;

    bool has_request() const;
    // Takes one chain. False: none is there. kPROTO: the driver broke the rules (see chain_at).
    Result<bool> pop(Chain& chain);
    // Completes a chain with `length` bytes written to its reply.
    void push(const Chain& chain, uint32_t length);
    // Whether the completion eventfd must be signalled for what was pushed since the last call.
    bool interrupt_needed();
    // Asks for a doorbell at the next request. False: one is already there, pop() again instead of sleeping.
    bool arm();

    bool broken() const { return broken_; }

  private:
    Result<Chain> chain_at(uint16_t head) const;
    Errno fail() {
        broken_ = true;
        return Errno::kPROTO;
    }

    ChannelView view_;
    uint16_t avail_index_ = 0;
    uint16_t used_index_ = 0;
    uint16_t signalled_index_ = 0;
    bool broken_ = false;
};

inline Result<> check_region(std::span<uint8_t> region) {
    // SAFETY: the address is only looked at, for its alignment.
    if (region.size() < abi::kChannelSize || reinterpret_cast<uintptr_t>(region.data()) % 4096 != 0)
        return Errno::kINVAL;
    return {};
}

// ---- driver

inline Result<> RingDriver::initialize(std::span<uint8_t> region) {
    TRY(check_region(region));
    *this = RingDriver();
    view_ = ChannelView(region);
    view_.avail() = {};
    view_.used() = {};
    view_.header() = {.magic = abi::kChannelMagic,
                      .version = abi::kChannelVersion,
                      .header_size = sizeof(abi::ChannelHeader),
                      .channel_size = abi::kChannelSize,
                      .queue_size = abi::kQueueSize,
                      .slots = abi::kChannelSlots,
                      .slot_buffer_size = abi::kSlotBufferSize,
                      .pad = 0};
    ring_detail::full_barrier();
    return {};
}

inline Result<uint32_t> RingDriver::acquire() {
    for (uint32_t slot = 0; slot < abi::kChannelSlots; slot++) {
        if (slots_[slot] != SlotState::kFree) continue;
        slots_[slot] = SlotState::kTaken;
        return slot;
    }
    return Errno::kAGAIN;
}

inline void RingDriver::release(uint32_t slot) {
    if (slot < abi::kChannelSlots && slots_[slot] == SlotState::kTaken) slots_[slot] = SlotState::kFree;
}

inline void RingDriver::submit(uint32_t slot, uint32_t request_length) {
    if (slot >= abi::kChannelSlots || slots_[slot] != SlotState::kTaken || request_length > abi::kSlotBufferSize)
        return;
    uint16_t head = static_cast<uint16_t>(2 * slot);
    view_.descriptors()[head] = {abi::request_offset(slot), request_length, abi::kDescriptorNext,
                                 static_cast<uint16_t>(head + 1)};
    view_.descriptors()[head + 1] = {abi::reply_offset(slot), abi::kSlotBufferSize, abi::kDescriptorWrite, 0};
    slots_[slot] = SlotState::kInFlight;
    in_flight_++;
    ring_detail::store(view_.avail().ring[avail_index_ & ring_detail::kIndexMask], head);
    ring_detail::store(view_.avail().index, ++avail_index_, std::memory_order_release);
}

inline bool RingDriver::kick_needed() {
    ring_detail::full_barrier();  // the index is out before the event is read; pairs with RingDevice::arm
    uint16_t old = kicked_index_;
    kicked_index_ = avail_index_;
    return ring_detail::need_event(ring_detail::load(view_.used().avail_event), avail_index_, old);
}

inline bool RingDriver::has_completion() const {
    return ring_detail::load(view_.used().index, std::memory_order_acquire) != used_index_;
}

inline Result<Completion> RingDriver::poll() {
    if (broken_) return Errno::kPROTO;
    uint16_t ready =
        static_cast<uint16_t>(ring_detail::load(view_.used().index, std::memory_order_acquire) - used_index_);
    if (ready == 0) return Completion{kNoSlot, 0};
    if (ready > in_flight_) return fail();
    abi::UsedElement& element = view_.used().ring[used_index_ & ring_detail::kIndexMask];
    uint32_t id = ring_detail::load(element.id);
    uint32_t length = ring_detail::load(element.length);
    uint32_t slot = id / 2;
    if (id % 2 != 0 || slot >= abi::kChannelSlots || slots_[slot] != SlotState::kInFlight ||
        length > abi::kSlotBufferSize)
        return fail();
    used_index_++;
    in_flight_--;
    slots_[slot] = SlotState::kTaken;
    return Completion{slot, length};
}

inline bool RingDriver::arm() {
    ring_detail::store(view_.avail().used_event, used_index_);
    ring_detail::full_barrier();  // the event is out before the index is read; pairs with RingDevice::interrupt_needed
    return !has_completion();
}

// ---- device

inline Result<> RingDevice::attach(std::span<uint8_t> region) {
    TRY(check_region(region));
    *this = RingDevice();
    view_ = ChannelView(region);
    return {};
}

inline Result<> RingDevice::check_header() const {
    abi::ChannelHeader header = view_.header();
    std::atomic_signal_fence(std::memory_order_seq_cst);  // copied once, then checked
    bool ok = header.magic == abi::kChannelMagic && header.version == abi::kChannelVersion &&
              header.channel_size == abi::kChannelSize && header.queue_size == abi::kQueueSize &&
              header.slots == abi::kChannelSlots && header.slot_buffer_size == abi::kSlotBufferSize;
    if (!ok) return Errno::kPROTO;
    return {};
}

inline bool RingDevice::has_request() const {
    return ring_detail::load(view_.avail().index, std::memory_order_acquire) != avail_index_;
}

inline Result<bool> RingDevice::pop(Chain& chain) {
    if (broken_) return Errno::kPROTO;
    uint16_t ready =
        static_cast<uint16_t>(ring_detail::load(view_.avail().index, std::memory_order_acquire) - avail_index_);
    if (ready == 0) return false;
    if (ready > abi::kQueueSize) return fail();
    Result<Chain> next = chain_at(ring_detail::load(view_.avail().ring[avail_index_ & ring_detail::kIndexMask]));
    if (next.is_error()) return fail();
    avail_index_++;
    chain = next.value();
    return true;
}

// Exactly two descriptors, request then reply, both inside the slots' area: a loop, a longer chain, an indirect table
// or a buffer over the rings cannot pass. Slots are not compared with the head: it is the driver's own memory that it
// would spoil.
inline Result<Chain> RingDevice::chain_at(uint16_t head) const {
    auto copy = [this](uint16_t index) {
        abi::Descriptor& shared = view_.descriptors()[index];
        return abi::Descriptor{ring_detail::load(shared.offset), ring_detail::load(shared.length),
                               ring_detail::load(shared.flags), ring_detail::load(shared.next)};
    };
    auto in_bounds = [](const abi::Descriptor& descriptor) {
        return descriptor.offset >= abi::kSlotsOffset && descriptor.offset <= abi::kChannelSize &&
               descriptor.length <= abi::kSlotBufferSize && descriptor.length <= abi::kChannelSize - descriptor.offset;
    };
    if (head >= abi::kQueueSize) return Errno::kPROTO;
    abi::Descriptor request = copy(head);
    if (request.flags != abi::kDescriptorNext || request.next >= abi::kQueueSize || request.next == head)
        return Errno::kPROTO;
    abi::Descriptor reply = copy(request.next);
    if (reply.flags != abi::kDescriptorWrite) return Errno::kPROTO;
    if (!in_bounds(request) || !in_bounds(reply)) return Errno::kPROTO;
    return Chain{head, {view_.bytes(request.offset), request.length}, {view_.bytes(reply.offset), reply.length}};
}

inline void RingDevice::push(const Chain& chain, uint32_t length) {
    abi::UsedElement& element = view_.used().ring[used_index_ & ring_detail::kIndexMask];
    ring_detail::store(element.id, uint32_t{chain.head});
    ring_detail::store(element.length, length);
    ring_detail::store(view_.used().index, ++used_index_, std::memory_order_release);
}

inline bool RingDevice::interrupt_needed() {
    ring_detail::full_barrier();  // pairs with RingDriver::arm
    uint16_t old = signalled_index_;
    signalled_index_ = used_index_;
    return ring_detail::need_event(ring_detail::load(view_.avail().used_event), used_index_, old);
}

inline bool RingDevice::arm() {
    ring_detail::store(view_.used().avail_event, avail_index_);
    ring_detail::full_barrier();  // pairs with RingDriver::kick_needed
    return !has_request();
}

}  // namespace kvmsbx::p9
