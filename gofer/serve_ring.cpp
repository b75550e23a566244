// The ring's server loop. After the last request it polls for a while, because a client that makes many requests sends
// the next one sooner than a sleeping thread can be woken; the time it polls adapts to whether that came true lately,
// and with one CPU it does not poll at all.
#include <poll.h>
#include <time.h>

#include <algorithm>

#include "common/host/errno.hpp"
#include "common/p9/ring.hpp"
#include "gofer/serve.hpp"

namespace kvmsbx::gofer {
namespace {

constexpr uint64_t kMaxPollNs = 50'000;
constexpr uint64_t kMinPollNs = 5'000;  // below it, not polling is better

uint64_t now_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

class RingServer {
  public:
    RingServer(Server& server, const RingTransport& transport) : server_(server), transport_(transport) {}

    ServeEnd run() {
        if (device_.attach(transport_.region).is_error()) return ServeEnd::kBadHeader;
        for (;;) {
            p9::Chain chain;
            Result<bool> popped = device_.pop(chain);
            if (popped.is_error()) return ServeEnd::kRingViolation;
            if (!popped.value()) {
                if (poll_a_while() || !device_.arm()) continue;
                uint64_t asleep = now_ns();
                if (Result<bool> woken = sleep(); woken.is_error() || !woken.value())
                    return woken.is_error() ? ServeEnd::kHostError : ServeEnd::kPeerGone;
                // It came so soon that polling would have caught it: poll the next time.
                if (transport_.may_poll && now_ns() - asleep < kMaxPollNs) window_ns_ = kMaxPollNs;
                continue;
            }
            if (!header_checked_ && device_.check_header().is_error()) return ServeEnd::kBadHeader;
            header_checked_ = true;
            uint32_t length = server_.handle(chain.request, chain.reply);
            if (length == 0) return ServeEnd::kRingViolation;
            device_.push(chain, length);
            if (device_.interrupt_needed() && !signal()) return ServeEnd::kHostError;
        }
    }

  private:
    // True: a request came.
    bool poll_a_while() {
        if (window_ns_ == 0) return false;
        uint64_t start = now_ns();
        do {
            for (int i = 0; i < 16; i++) {
                if (device_.has_request()) {
                    window_ns_ = kMaxPollNs;
                    return true;
                }
                __builtin_ia32_pause();
            }
        } while (now_ns() - start < window_ns_);
        window_ns_ = window_ns_ / 2 < kMinPollNs ? 0 : window_ns_ / 2;
        return false;
    }

    // Waits for the doorbell. False: the lifeline is cut.
    Result<bool> sleep() {
        pollfd fds[2] = {{transport_.doorbell, POLLIN, 0}, {transport_.lifeline, POLLIN, 0}};
        while (poll(fds, 2, -1) < 0)
            if (errno != EINTR) return host::last_errno();
        if ((fds[1].revents & (POLLHUP | POLLERR | POLLNVAL | POLLIN)) != 0) return false;
        uint64_t count;
        if ((fds[0].revents & POLLIN) == 0) return true;
        if (read(transport_.doorbell, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)
            return host::last_errno();
        return true;
    }

    bool signal() {
        uint64_t one = 1;
        return write(transport_.completion, &one, sizeof one) == sizeof one || errno == EAGAIN;
    }

    Server& server_;
    RingTransport transport_;
    p9::RingDevice device_;
    bool header_checked_ = false;
    uint64_t window_ns_ = 0;
};

}  // namespace

ServeEnd serve_ring(Server& server, const RingTransport& transport) { return RingServer(server, transport).run(); }

}  // namespace kvmsbx::gofer
