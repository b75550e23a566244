#include "guestkernel/fs/tty/pty.hpp"

#include "guestkernel/vfs/device.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint32_t kPtsMajor = 136;
constexpr size_t kChunk = 1024;

}  // namespace

PtyTerminal::PtyTerminal(RefPtr<PtsFileSystem> instance, uint32_t index)
    : Terminal(vfs::make_device(kPtsMajor, index), kStandardTermios), index(index), instance_(std::move(instance)) {}

PtyTerminal::~PtyTerminal() { instance_->forget(index, *this); }

void PtyTerminal::file_opened() {
    ++slaves_;
    slaves_closed_ = false;
}

void PtyTerminal::closed() {
    if (--slaves_ > 0) return;
    slaves_closed_ = true;
    wake();
}

void PtyTerminal::master_closed() {
    const RefPtr<PtyTerminal> self(*this);
    master_open = false;
    hang_up();
}

Result<size_t> PtyTerminal::master_read(mm::IoBuffer& to, bool nonblocking) {
    if (to.empty()) return size_t{0};
    if (output_.empty() && !packet_events_) {
        if (slaves_closed_) return Errno::kIO;
        if (nonblocking) return Errno::kAGAIN;
        TRY(changed_.wait([&] { return !output_.empty() || packet_events_ || slaves_closed_; }));
        if (output_.empty() && !packet_events_) return Errno::kIO;
    }
    size_t done = 0;
    if (packet_mode_) {
        const uint8_t events = std::exchange(packet_events_, uint8_t{0});
        done = TRY(to.put(&events, 1));
        if (events) return done;
    }
    while (!to.empty() && !output_.empty()) {
        uint8_t chunk[kChunk];
        const auto front = output_.front();
        const size_t size = std::min({front.size(), to.remaining(), kChunk});
        memcpy(chunk, front.data(), size);
        output_.drop(size);
        const auto copied = to.put(chunk, size);
        if (copied.is_error()) return done ? Result<size_t>(done) : copied.error();
        done += copied.value();
        if (copied.value() < size) break;
    }
    wake();
    return done;
}

Result<size_t> PtyTerminal::master_write(mm::IoBuffer& from, bool nonblocking) {
    size_t done = 0;
    while (!from.empty()) {
        uint8_t chunk[kChunk];
        const auto taken = from.take(chunk, kChunk);
        if (taken.is_error()) return done ? Result<size_t>(done) : taken.error();
        for (size_t at = 0; at < taken.value();) {
            const size_t part = input({chunk + at, taken.value() - at});
            at += part;
            done += part;
            if (at == taken.value()) break;
            if (nonblocking) return done ? Result<size_t>(done) : Errno::kAGAIN;
            const auto room = [&] {
                return discipline().receive_room() > 0 || (discipline().canonical() && !discipline().has_input());
            };
            if (const auto waited = changed_.wait(room); waited.is_error())
                return done ? Result<size_t>(done) : waited.error();
        }
    }
    return done;
}

void PtyTerminal::flush_from_master(bool readable, bool written) {
    if (readable) output_.clear();
    if (written) discipline().flush_input();
    wake();
}

void PtyTerminal::set_packet_mode(bool on) {
    if (!on || !packet_mode_) packet_events_ = 0;
    packet_mode_ = on;
}

void PtyTerminal::packet_event(uint8_t events, uint8_t cleared) {
    if (!packet_mode_) return;
    packet_events_ = static_cast<uint8_t>((packet_events_ & ~cleared) | events);
    wake();
}

vfs::PollState PtyTerminal::master_poll() {
    using namespace vfs;
    uint32_t events = packet_events_ ? kPollPri | kPollIn | kPollRdNorm : 0;
    if (!output_.empty()) events |= kPollIn | kPollRdNorm;
    if (slaves_closed_) events |= kPollHup;
    if (discipline().receive_room() > 0 || (discipline().canonical() && !discipline().has_input()))
        events |= kPollOut | kPollWrNorm;
    return {events, &changed_};
}

}  // namespace kvmsbx::fs
