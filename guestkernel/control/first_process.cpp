#include "guestkernel/control/first_process.hpp"

#include "guestkernel/control/frames.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::control {
namespace {

enum class Stage : uint8_t { kPreparing, kWaiting, kStarting, kRunning };
struct {
    StartsBy by = StartsBy::kItself;
    Stage stage = Stage::kPreparing;
    uint64_t request = 0;  // the Start's id; 0: none
    RefPtr<fs::ConsoleTerminal> terminal;
    sched::WaitQueue started;
} first;

// Writes a line to the container's stderr, straight to the host.
void say(std::string_view line) {
    constexpr unsigned kStderr = 2;
    FixedText<1100> text;  // on a kernel stack, so in the direct map
    format_to(text, "kvmsbx: {}\n", line);
    ignore(platform::console_write(kStderr, std::as_bytes(std::span(text.view()))),
           "who cannot be told has no use for it");
}

}  // namespace

void begin_first_process(StartsBy by) { first.by = by; }
void set_first_terminal(RefPtr<fs::ConsoleTerminal> terminal) { first.terminal = std::move(terminal); }
fs::ConsoleTerminal* first_terminal() { return first.terminal.get(); }
bool is_first_process_running() { return first.stage == Stage::kRunning; }

void end_with(const Failure& failure) {
    if (first.by == StartsBy::kItself || !platform::has_monitor()) say(failure.text.view());
    send(first.request, Failed<wire::Borrowed>{static_cast<uint32_t>(failure.code), failure.text.view()});
    platform::end_sandbox(failure.code);
}

void await_start(task::Task& task) {
    if (first.by == StartsBy::kItself) return;
    first.stage = Stage::kWaiting;
    send(0, Ready{});
    // What does not end it does not start it either.
    while (first.started.wait([] { return first.stage != Stage::kWaiting; }).is_error()) deliver_signals(task);
}

bool start_first_process(uint64_t id) {
    if (first.stage != Stage::kWaiting) return false;
    first.request = id;
    first.stage = Stage::kStarting;
    first.started.wake_all();
    return true;
}

void first_process_runs() {
    first.stage = Stage::kRunning;
    if (first.by == StartsBy::kRequest) send(first.request, Done{});
}

}  // namespace kvmsbx::control
