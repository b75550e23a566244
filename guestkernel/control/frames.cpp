#include "guestkernel/control/frames.hpp"

#include <algorithm>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::control {
namespace {

List<OutFrame, &OutFrame::queue_hook> queue;  // holds references
RefPtr<OutFrame> reserve;                     // for send_out_of_memory()

using OutOfMemory = Failed<wire::Borrowed>;
constexpr OutOfMemory kOutOfMemory{125, "the sandbox has no memory for an answer; raise the container's memory limit"};

}  // namespace

// True: all of it.
bool OutFrame::send_some() {
    const auto bytes = std::as_bytes(std::span<const uint8_t>(bytes_.span())).first(size_);
    while (sent_ < size_) {
        const auto sent = platform::control_write(bytes.subspan(sent_));
        if (sent.is_error()) return sent.error() != Errno::kAGAIN;  // nobody is there to read it
        sent_ += sent.value();
    }
    return true;
}

void send(RefPtr<OutFrame> frame) {
    frame->sent_ = 0;
    if (queue.empty() && frame->send_some()) return;
    queue.push_back(*frame.leak());
}

void flush() {
    while (!queue.empty() && queue.front().send_some()) {
        const auto sent = RefPtr<OutFrame>::adopt(&queue.front());
        queue.pop_front();
    }
}

bool all_sent() { return queue.empty(); }

void send_out_of_memory(uint64_t id) {
    if (!reserve || reserve->queue_hook.is_linked()) return debug("no memory to answer the monitor's request {}", id);
    reserve->set(id, kOutOfMemory);
    send(reserve);
}

Result<> prepare_frames() {
    reserve = TRY(OutFrame::create(0, kOutOfMemory));
    return {};
}

namespace {

// Whole frames are there to be read, or nothing.
bool read_all(std::span<uint8_t> to) {
    while (!to.empty()) {
        const auto got = platform::control_read(std::as_writable_bytes(to));
        if (got.is_error()) return false;
        to = to.subspan(got.value());
    }
    return true;
}

bool skip(size_t size) {
    uint8_t bytes[1024];
    for (; size > 0; size -= std::min(size, sizeof bytes))
        if (!read_all(std::span(bytes).first(std::min(size, sizeof bytes)))) return false;
    return true;
}

}  // namespace

Arrived receive(InFrame& frame) {
    uint8_t header[kHeaderSize];
    if (!read_all(header)) return Arrived::kNothing;
    frame.header = MUST(decode_header(header));  // the VMM has checked it
    const size_t size = frame.header.size - kHeaderSize;
    frame.body.clear();
    if (frame.body.resize(size).is_error()) {
        VERIFY(skip(size));
        return Arrived::kTooLarge;
    }
    VERIFY(read_all(frame.body.span()));
    return Arrived::kFrame;
}

}  // namespace kvmsbx::control
