#include "guestkernel/fs/tty/console_terminal.hpp"

#include "guestkernel/platform/host.hpp"
#include "guestkernel/vfs/device.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint32_t kPtsMajor = 136;
constexpr unsigned kOutputPages = 16, kKeyPages = 1;

}  // namespace

ConsoleTerminal::ConsoleTerminal() : Terminal(vfs::make_device(kPtsMajor, 0), kStandardTermios) {}

Result<RefPtr<ConsoleTerminal>> ConsoleTerminal::create(const WindowSize& size) {
    auto console = TRY(make_ref<ConsoleTerminal>());
    TRY(console->create_ring(kOutputPages));
    TRY(console->keys_.create(kKeyPages));
    console->set_window_size(size);
    console->node.mode = 0620;
    console->node.created = sched::realtime_now();
    console->pump_input();
    return console;
}

void ConsoleTerminal::host_ready(unsigned stream) {
    if (stream == 0)
        pump_input();
    else
        push_output();
}

void ConsoleTerminal::push_output() {
    const bool had_output = !output_.empty();
    while (!output_.empty() && !gone_) {
        const auto bytes = output_.front();
        const auto sent = platform::console_write(1, std::as_bytes(bytes));
        if (sent.is_error() && sent.error() == Errno::kAGAIN) break;
        if (sent.is_error()) return lose_line();
        output_.drop(sent.value());
    }
    if (had_output && output_.empty()) wake();
}

void ConsoleTerminal::pump_input() {
    if (pumping_) return;
    pumping_ = true;
    while (!gone_) {
        if (!keys_.empty()) {
            const auto bytes = keys_.front();
            keys_.drop(input(bytes));
            if (!keys_.empty() && discipline().receive_room() == 0) break;  // goes on in input_taken()
            continue;
        }
        const auto space = keys_.free_run();
        const auto got = platform::console_read(0, std::as_writable_bytes(space));
        if (got.is_error() && got.error() == Errno::kAGAIN) break;
        if (got.is_error() || got.value() == 0) {
            lose_line();
            break;
        }
        keys_.add(got.value());
    }
    pumping_ = false;
}

// The host's terminal was closed.
void ConsoleTerminal::lose_line() {
    if (gone_) return;
    gone_ = true;
    output_.clear();
    hang_up();
}

}  // namespace kvmsbx::fs
