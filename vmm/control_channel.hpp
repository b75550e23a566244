#pragma once
// The monitor's socket: control frames (common/control/messages.hpp) on their way to the Sentry and back. The main
// thread receives, checks the frames' headers and gives their descriptors to the Console as streams; vCPU threads take
// whole frames. What they write goes out at once, or waits here until the socket takes it.
//
// The monitor is trusted, but a frame that cannot be one ends the sandbox: the bytes behind it would mean nothing.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "common/base/result.hpp"
#include "common/control/messages.hpp"
#include "common/host/fd.hpp"
#include "vmm/console.hpp"

namespace kvmsbx::vmm {

class ControlChannel {
  public:
    // `fd`: a connected stream socket, which stays the caller's; -1: there is no monitor. `wake_fd`: an eventfd that
    // tells the main thread that there is something to send.
    ControlChannel(int fd, Console& console, int wake_fd);
    ControlChannel(const ControlChannel&) = delete;

    // vCPU threads.
    // The next bytes of whole frames; EAGAIN: none now. `take` is called with them and may fail, then they stay.
    template <typename Take>
    Result<size_t> read(size_t most, Take take) {
        std::lock_guard guard(incoming_lock_);
        const size_t size = std::min(most, readable_ - taken_);
        if (size == 0) return Errno::kAGAIN;
        TRY(take(std::as_bytes(std::span(incoming_).subspan(taken_, size))));
        taken_ += size;
        if (incoming_.size() >= kMostIncoming) wake_main();
        return size;
    }
    // Bytes taken, at least 1; EAGAIN: the queue is full. EPIPE: there is no monitor; also for no bytes.
    Result<size_t> write(std::span<const std::byte> from);

    // The main thread.
    pollfd wanted();
    enum class Received : uint8_t { kNothing, kFrames, kHangUp, kBadFrame };
    Received receive();
    // Sends what waits. True if a writer that met a full queue can go on.
    bool flush();
    // The end: what waits is sent, if the monitor takes it within a second.
    void finish();

  private:
    static constexpr size_t kQueueSize = 1 << 20;     // bytes
    static constexpr size_t kReceiveSize = 64 << 10;  // bytes at once
    static constexpr unsigned kReceivesAtOnce = 16;   // then others have their turn
    // Bytes: more is not received before the Sentry has read.
    static constexpr size_t kMostIncoming = control::kMaxFrame + kReceiveSize;

    bool take_descriptors(const msghdr& message);
    bool scan_frames();
    bool accept_header(std::span<uint8_t> frame);
    void forget_taken();
    ssize_t send_now(std::span<const std::byte> bytes);
    void flush_locked();
    void wake_main();

    const int fd_;
    Console& console_;
    const int wake_fd_;

    std::mutex incoming_lock_;         // for what follows
    std::vector<uint8_t> incoming_;    // the main thread alone changes its size
    size_t taken_ = 0, readable_ = 0;  // in incoming_: what the Sentry has, and where its whole frames end
    // The main thread's: whether the header at readable_ was accepted, its size, and descriptors that came for the
    // frame whose header is not whole yet.
    bool header_accepted_ = false;
    size_t frame_size_ = 0;
    std::vector<host::Fd> descriptors_;

    std::mutex outgoing_lock_;            // for what follows
    std::unique_ptr<std::byte[]> queue_;  // a ring of kQueueSize bytes, made by the first that has to wait
    size_t first_ = 0, queued_ = 0;
    bool writer_waits_ = false, broken_ = false;
};

}  // namespace kvmsbx::vmm
