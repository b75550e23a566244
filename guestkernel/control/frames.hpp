#pragma once
// Control frames (common/control/messages.hpp) from and to the monitor.
//
// What is sent goes to the VMM at once, or waits in one queue until there is room. Sending never blocks. Where there is
// no memory for a frame, an error goes in its place, in a frame kept for that.
#include "common/control/messages.hpp"
#include "guestkernel/lib/list.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/lib/string.hpp"
#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::control {

// A frame to be sent, with its bytes.
class OutFrame : public RefCounted {
  public:
    template <typename M>
    static Result<RefPtr<OutFrame>> create(uint64_t id, const M& message) {
        auto frame = TRY(with_room(encode_frame({}, id, message)));
        frame->set(id, message);
        return frame;
    }
    // For messages of up to so many bytes with their header.
    static Result<RefPtr<OutFrame>> with_room(size_t bytes) {
        auto frame = TRY(make_ref<OutFrame>());
        TRY(frame->bytes_.resize(bytes));
        return frame;
    }
    // Another message with as many bytes, or fewer, in its place.
    template <typename M>
    void set(uint64_t id, const M& message) {
        size_ = encode_frame(bytes_.span(), id, message);
        VERIFY(size_ <= bytes_.size());
    }
    ListHook queue_hook;

  private:
    friend void send(RefPtr<OutFrame> frame);
    friend void flush();
    bool send_some();
    Vector<uint8_t> bytes_;
    size_t size_ = 0, sent_ = 0;
};

void send(RefPtr<OutFrame> frame);
// An error in place of an answer for which there was no memory.
void send_out_of_memory(uint64_t id);
template <typename M>
void send(uint64_t id, const M& message) {
    auto frame = OutFrame::create(id, message);
    if (frame.is_error()) return send_out_of_memory(id);
    send(frame.release_value());
}

// HostEventType::kControl: sends what waits.
void flush();
bool all_sent();

// At start. ENOMEM.
Result<> prepare_frames();

struct InFrame {
    FrameHeader header;
    Vector<uint8_t> body;
};
// The next frame. kTooLarge: there was no memory for its body.
enum class Arrived : uint8_t { kNothing, kFrame, kTooLarge };
Arrived receive(InFrame& frame);

}  // namespace kvmsbx::control
