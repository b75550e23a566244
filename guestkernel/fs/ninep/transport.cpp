#include "guestkernel/fs/ninep/transport.hpp"

#include "guestkernel/fs/ninep/channel.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/platform/cpu.hpp"

namespace kvmsbx::fs::ninep {

namespace {
constexpr size_t kClunkBatch = 32;
Transport the_transport;
}  // namespace

Transport& transport() { return the_transport; }
void handle_completion_interrupt() { the_transport.collect(); }
bool requests_pending() { return the_transport.pending(); }
bool arm_completion_interrupt() { return the_transport.arm(); }

Result<> Transport::initialize(std::span<uint8_t> region, void (*doorbell)()) {
    TRY(driver_.initialize(region));
    TRY(to_clunk_.reserve(p9::kMaxClunk));
    doorbell_ = doorbell;
    broken_ = false;
    return {};
}

void Transport::fail(const char* why) {
    if (broken_) return;
    broken_ = true;
    debug("9p: {}; the connection to the gofer has ended, file access gives EIO from now on", why);
    for (Slot& slot : slots_) slot.queue.wake_all();
    slot_free_.wake_all();
}

void Transport::collect() {
    while (!broken_) {
        Result<p9::Completion> next = driver_.poll();
        if (next.is_error()) return fail("the gofer broke the rules of the ring");
        if (next->slot == p9::RingDriver::kNoSlot) return;
        Slot& slot = slots_[next->slot];
        slot.length = next->length;
        slot.done = true;
        slot.queue.wake_all();
        if (!slot.abandoned) continue;
        for (uint32_t fid : slot.clunked) recycle(fid);
        slot.clunked.clear();
        release(next->slot);
    }
}

bool Transport::arm() {
    if (broken_ || !pending()) return true;
    if (driver_.arm()) return true;
    collect();
    return false;
}

uint32_t Transport::new_fid() {
    if (free_fids_.empty()) return next_fid_++;
    const uint32_t fid = free_fids_.back();
    free_fids_.pop_back();
    return fid;
}

void Transport::recycle(uint32_t fid) {
    if (fid != p9::kNoFid) (void)free_fids_.push_back(fid);  // without memory the number is just not used again
}

void Transport::clunk(uint32_t fid, bool soon) {
    if (fid == p9::kNoFid || broken_) return;
    (void)to_clunk_.push_back(fid);  // without memory the server keeps it
    clunk_soon_ |= soon;
    if (to_clunk_.size() >= 2 * kClunkBatch) send_clunks();
}

void Transport::send_clunks() {
    clunk_soon_ = false;
    while (!to_clunk_.empty()) {
        Result<uint32_t> acquired = driver_.acquire();
        if (acquired.is_error()) return;
        Slot& slot = slots_[acquired.value()];
        p9::Tclunkmany message;
        const size_t most = extended ? p9::kMaxClunk : 1;
        while (message.fids.count < most && !to_clunk_.empty() && slot.clunked.push_back(to_clunk_.back()).is_ok() &&
               message.fids.push(to_clunk_.back()))
            to_clunk_.pop_back();
        if (slot.clunked.empty()) return release(acquired.value());  // no memory now
        const std::span<uint8_t> buffer = driver_.request(acquired.value());
        const uint16_t tag = static_cast<uint16_t>(acquired.value());
        Result<uint32_t> size =
            extended ? p9::encode(buffer, tag, message) : p9::encode(buffer, tag, p9::Tclunk{message.fids[0]});
        slot.done = false, slot.abandoned = true;
        submit(acquired.value(), size.value_or(0));
    }
}

void Transport::submit(uint32_t slot, uint32_t length) {
    driver_.submit(slot, length);
    if (driver_.kick_needed()) doorbell_();
}

Result<uint32_t> Transport::acquire() {
    for (;;) {
        if (broken_) return Errno::kIO;
        Result<uint32_t> slot = driver_.acquire();
        if (slot.is_error()) {
            collect();  // what that frees wakes nobody yet: look again before waiting
            slot = driver_.acquire();
        }
        if (slot.is_ok()) {
            slots_[slot.value()].done = slots_[slot.value()].abandoned = false;
            return slot;
        }
        bool retried = false;
        if (blocking_)
            TRY(slot_free_.wait([&] { return broken_ || std::exchange(retried, true); }, sched::Interruptible::kNo));
        else
            platform::relax();
    }
}

void Transport::release(uint32_t slot) {
    driver_.release(slot);
    slot_free_.wake_one();
}

Result<> Transport::wait(uint32_t number) {
    Slot& slot = slots_[number];
    const auto over = [&] {
        if (!slot.done) collect();
        return slot.done || broken_;
    };
    while (!blocking_ && !over()) platform::relax();
    TRY(slot.queue.wait(over, sched::Interruptible::kNo));
    return slot.done ? Result<>() : Result<>(Errno::kIO);
}

Call::~Call() {
    if (slot_ != p9::RingDriver::kNoSlot) transport_.release(slot_);
}

Result<> Call::take_slot() {
    if (slot_ == p9::RingDriver::kNoSlot) slot_ = TRY(transport_.acquire());
    return {};
}

Result<> Call::send(uint32_t size) {
    if (transport_.to_clunk_.size() >= kClunkBatch || transport_.clunk_soon_) transport_.send_clunks();
    transport_.slots_[slot_].done = false;
    transport_.submit(slot_, size);
    return transport_.wait(slot_);
}

Errno Call::garbled() {
    debug("9p: the gofer sent a malformed reply");
    return Errno::kIO;
}

}  // namespace kvmsbx::fs::ninep
