#include "vmm/main_loop.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/host/exit_code.hpp"

namespace kvmsbx::vmm {
namespace {

enum Slot : unsigned {
    kStdin,
    kStdout,
    kStderr,
    kWake,
    kLifeline,
    kControl,
    kPlatform,
    kSlots = kPlatform + Platform::kPolled
};

void end_with(SandboxState& state, const char* line) {
    state.ending.set(host::kExitOwnFailure, [&] { state.log.error("%s", line); });
}

bool acceptable(const abi::HostEvent& event) {
    using enum abi::HostEventType;
    return event.type == kSignal || event.type == kWindowSize || event.type == kCrash;
}

void take_control_message(SandboxState& state) {
    abi::HostEvent event{};
    ssize_t got = recv(state.config.control_fd, &event, sizeof event, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return end_with(state, "the process that started this sandbox is gone; the sandbox ends with it");
    if (got != sizeof event || !acceptable(event)) {
        state.log.error("ignored a control message of %zd bytes, type %u", got, static_cast<unsigned>(event.type));
        return;
    }
    if (!state.events.push(event))
        state.log.error("the Sentry does not take its events; one of type %u was dropped",
                        static_cast<unsigned>(event.type));
    state.platform.notify_sentry();
}

}  // namespace

void run_main_loop(SandboxState& state, int wake_fd) {
    const auto platform = state.platform.polled();
    while (!state.ending.decided()) {
        pollfd polled[kSlots] = {state.console.wanted(0),
                                 state.console.wanted(1),
                                 state.console.wanted(2),
                                 {wake_fd, POLLIN, 0},
                                 {state.config.gofer_lifeline_fd, POLLIN, 0},
                                 {state.config.control_fd, POLLIN, 0},
                                 {platform[0], POLLIN, 0},
                                 {platform[1], POLLIN, 0}};
        if (poll(polled, kSlots, -1) < 0 && errno != EINTR) {
            end_with(state, "the sandbox's main loop cannot wait (poll failed)");
            return;
        }
        if (polled[kWake].revents) {
            uint64_t count;
            ssize_t ignored = read(wake_fd, &count, sizeof count);
            static_cast<void>(ignored);
        }
        bool console_ready = false;
        for (unsigned stream = 0; stream < 3; stream++) {
            if (!polled[stream].revents) continue;
            state.console.disarm(stream);
            state.events.push_console(stream);
            console_ready = true;
        }
        if (console_ready) state.platform.notify_sentry();
        if (polled[kLifeline].revents)
            end_with(state, "the gofer (file server) of this sandbox died; its files are gone, so the sandbox ends");
        if (polled[kControl].revents) take_control_message(state);
        for (unsigned i = 0; i < Platform::kPolled; i++)
            if (polled[kPlatform + i].revents) state.platform.on_readable(i);
    }
}

}  // namespace kvmsbx::vmm
