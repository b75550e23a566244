#include "vmm/main_loop.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "common/host/exit_code.hpp"

namespace kvmsbx::vmm {
namespace {

enum Slot : unsigned { kWake, kLifeline, kControl, kPlatform, kSlots = kPlatform + Platform::kPolled };

void end_with(SandboxState& state, const char* line) {
    state.ending.set(host::kExitOwnFailure, [&] { state.log.error("%s", line); });
}

void take_wake(int wake_fd) {
    uint64_t count;
    ssize_t ignored = read(wake_fd, &count, sizeof count);
    static_cast<void>(ignored);
}

void take_control(SandboxState& state, short came) {
    using enum ControlChannel::Received;
    if ((came & POLLOUT) && state.control.flush()) {
        state.events.push_control();
        state.platform.notify_sentry();
    }
    if (!(came & ~POLLOUT)) return;
    switch (state.control.receive()) {
        case kNothing: return;
        case kFrames:
            state.events.push_control();
            state.platform.notify_sentry();
            return;
        case kHangUp: return end_with(state, "the process that started this sandbox is gone; the sandbox ends with it");
        case kBadFrame:
            return end_with(state,
                            "the sandbox's monitor sent a control frame that is none (another version of kvmsbx?), so "
                            "the sandbox ends");
    }
}

}  // namespace

void run_main_loop(SandboxState& state, int wake_fd) {
    const auto platform = state.platform.polled();
    std::vector<pollfd> polled;
    while (!state.ending.decided()) {
        polled = {{wake_fd, POLLIN, 0},
                  {state.config.gofer_lifeline_fd, POLLIN, 0},
                  state.control.wanted(),
                  {platform[0], POLLIN, 0},
                  {platform[1], POLLIN, 0}};
        state.console.prepare_poll(polled);
        if (poll(polled.data(), polled.size(), -1) < 0) {
            if (errno == EINTR) continue;
            return end_with(state, "the sandbox's main loop cannot wait (poll failed)");
        }
        if (polled[kWake].revents) take_wake(wake_fd);
        if (state.console.take_ready(std::span(polled).subspan(kSlots), state.events)) state.platform.notify_sentry();
        if (polled[kLifeline].revents)
            end_with(state, "the gofer (file server) of this sandbox died; its files are gone, so the sandbox ends");
        if (polled[kControl].revents) take_control(state, polled[kControl].revents);
        for (unsigned i = 0; i < Platform::kPolled; i++)
            if (polled[kPlatform + i].revents) state.platform.on_readable(i);
    }
    state.control.finish();
}

}  // namespace kvmsbx::vmm
