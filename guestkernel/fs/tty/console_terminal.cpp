#include "guestkernel/fs/tty/console_terminal.hpp"

#include "guestkernel/vfs/device.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint32_t kPtsMajor = 136;
constexpr unsigned kOutputPages = 16, kKeyPages = 1;

}  // namespace

ConsoleTerminal::ConsoleTerminal(RefPtr<PtsFileSystem> instance, uint32_t index, RefPtr<HostStream> keys,
                                 RefPtr<HostStream> screen, Unused unused)
    : Terminal(vfs::make_device(kPtsMajor, index), kStandardTermios),
      index(index),
      instance_(std::move(instance)),
      keys_from_(std::move(keys)),
      screen_(std::move(screen)),
      unused_(unused) {
    instance_->set(index, *this);
    keys_from_->set_user(this);
    screen_->set_user(this);
}

ConsoleTerminal::~ConsoleTerminal() {
    keys_from_->set_user(nullptr);
    screen_->set_user(nullptr);
    instance_->forget(index, *this);
}

Result<RefPtr<ConsoleTerminal>> ConsoleTerminal::create(RefPtr<HostStream> keys, RefPtr<HostStream> screen,
                                                        Unused unused, const WindowSize& size) {
    auto instance = TRY(first_devpts());
    const uint32_t index = TRY(instance->free_index());
    auto console =
        TRY(make_ref<ConsoleTerminal>(std::move(instance), index, std::move(keys), std::move(screen), unused));
    TRY(console->create_ring(kOutputPages));
    TRY(console->keys_.create(kKeyPages));
    console->set_window_size(size);
    console->node.created = sched::realtime_now();
    console->instance_->give_mode(*console);
    console->pump_input();
    return console;
}

void ConsoleTerminal::host_ready() {
    pump_input();
    push_output();
}

void ConsoleTerminal::push_output() {
    const bool had_output = !output_.empty();
    while (!output_.empty() && !gone_) {
        const auto bytes = output_.front();
        const auto sent = screen_->write(std::as_bytes(bytes));
        if (sent.is_error() && sent.error() == Errno::kAGAIN) break;
        if (sent.is_error()) return lose_line();
        output_.drop(sent.value());
    }
    if (!had_output || !output_.empty()) return;
    wake();
    end_if_unused();
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
        const auto got = keys_from_->read(std::as_writable_bytes(space));
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

void ConsoleTerminal::drain(sched::Nanoseconds deadline) {
    ignore(changed_.wait([this] { return output_.empty() || gone_; }, sched::Interruptible::kNo, deadline),
           "whoever takes nothing for so long loses it");
}

void ConsoleTerminal::closed() {
    --files_;
    end_if_unused();
}

void ConsoleTerminal::end_if_unused() {
    const bool sends = !output_.empty() && !gone_;
    if (unused_ == Unused::kStays || !was_used_ || ended_ || files_ != 0 || session() || sends) return;
    ended_ = gone_ = true;
    output_.clear();
    keys_from_->close();
    screen_->close();
    instance_->forget(index, *this);
}

}  // namespace kvmsbx::fs
