#pragma once
// The Sentry's end of the channel to the gofer, for many tasks at once. Model:
// - A Call is one request: it takes a slot (waiting for one if all are in use), encodes into the slot's request buffer,
//   sends, waits for the reply and keeps the slot until it dies, so that file data can be copied straight between the
//   slot and page frames.
// - Completions are collected by whoever looks at the ring: the interrupt, an idle vCPU that polls, a task that begins
//   to wait. Collecting never blocks.
// - Waiting is uninterruptible. Until start_blocking() (early boot, no scheduler yet) it spins.
// - Everything in the channel is the gofer's to change at any time: replies are copied, then checked; file data alone
//   is used in place. A reply that breaks the rules is EIO; a ring that does ends the connection: EIO for all, from
//   then on.
// - Fids that are no longer used are clunked in batches, without waiting.
#include <cstring>

#include "common/p9/codec.hpp"
#include "common/p9/ring.hpp"
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::fs::ninep {

class Transport {
  public:
    // region: the channel. doorbell: wakes the gofer. Sends nothing yet. EINVAL.
    Result<> initialize(std::span<uint8_t> region, void (*doorbell)());
    void start_blocking() { blocking_ = true; }

    bool broken() const { return broken_; }
    bool pending() const { return driver_.in_flight() > 0; }
    // Takes what has completed and wakes its waiters; never blocks.
    void collect();
    // Before a vCPU halts or runs an application: asks for an interrupt at the next completion. False: one is there
    // already (and collected).
    bool arm();

    uint32_t new_fid();
    // Forgets a fid that the server does not have (its creation failed).
    void recycle(uint32_t fid);
    // Gives a fid back to the server, some time later; `soon`: with the next request (its file's space should be
    // freed). Never blocks.
    void clunk(uint32_t fid, bool soon = false);
    // Sends what clunk() has kept back. The server takes requests in their order.
    void send_clunks();

    // As negotiated: the largest message; whether the server has the messages of 9P2000.L.kvmsbx.2.
    uint32_t msize = p9::kMinimumMsize;
    bool extended = false;

  private:
    friend class Call;
    struct Slot {
        bool done = false;
        bool abandoned = false;  // a batch of clunks: nobody waits
        uint32_t length = 0;
        sched::WaitQueue queue;
        Vector<uint32_t> clunked;
    };
    Result<uint32_t> acquire();
    void release(uint32_t slot);
    void submit(uint32_t slot, uint32_t length);
    Result<> wait(uint32_t slot);
    void fail(const char* why);

    p9::RingDriver driver_;
    void (*doorbell_)() = nullptr;
    bool blocking_ = false, broken_ = true;
    Slot slots_[abi::kChannelSlots];
    sched::WaitQueue slot_free_;
    uint32_t next_fid_ = 1;
    Vector<uint32_t> free_fids_, to_clunk_;
    bool clunk_soon_ = false;
};

class Call {
  public:
    explicit Call(Transport& transport) : transport_(transport) {}
    Call(const Call&) = delete;
    ~Call();

    // Sends the message and waits for its reply, of type R or Rlerror. Strings in `reply` live as long as the Call;
    // Data points into the channel.
    template <typename M, typename R>
    Result<> exchange(const M& message, R& reply) {
        TRY(take_slot());
        Result<uint32_t> size = p9::encode(request(), tag(), message);
        if (size.is_error()) return Errno::kNAMETOOLONG;
        if (size.value() > transport_.msize) return Errno::kNAMETOOLONG;
        TRY(send(size.value()));
        return decode(reply);
    }
    // Makes sure that a slot is there; may block.
    Result<> take_slot();
    // Where the payload of a message that ends in Data (Twrite) goes before exchange(), so that it need not be copied
    // again.
    template <typename M>
    std::span<uint8_t> payload() {
        return request().first(transport_.msize).subspan(p9::data_offset<M>());
    }

  private:
    std::span<uint8_t> request() { return transport_.driver_.request(slot_); }
    uint16_t tag() const { return static_cast<uint16_t>(slot_); }
    Result<> send(uint32_t size);
    template <typename R>
    Result<> decode(R& reply) {
        std::span<const uint8_t> bytes = transport_.driver_.reply(slot_).first(transport_.slots_[slot_].length);
        Result<> result;
        if constexpr (requires { reply.data; }) {
            result = p9::decode_shared_reply(bytes, reply);
        } else {
            if (bytes.size() > p9::kMaxControlSize) return garbled();
            TRY(copy_.resize(bytes.size()));
            if (!bytes.empty()) memcpy(copy_.data(), bytes.data(), bytes.size());
            result = p9::decode_reply(std::span<const uint8_t>(copy_.span()), reply);
        }
        if (result.is_error() && result.error() == Errno::kPROTO) return garbled();
        return result;
    }
    Errno garbled();

    Transport& transport_;
    uint32_t slot_ = p9::RingDriver::kNoSlot;
    Vector<uint8_t> copy_;
};

Transport& transport();  // the sandbox's one connection

}  // namespace kvmsbx::fs::ninep
