// The data path of terminals: read, write, poll (n_tty.c's n_tty_read, n_tty_write, n_tty_poll).
#include "guestkernel/fs/tty/terminal.hpp"

#include "guestkernel/task/registry.hpp"

namespace kvmsbx::fs {
namespace {

constexpr size_t kChunk = 1024;
constexpr size_t kWakeupLevel = 256;  // poll says "writable" while less than this waits in a small ring
constexpr sched::Nanoseconds kTenthSecond = 100'000'000;

}  // namespace

bool Terminal::is_dead(const TerminalFile& file) const { return file.generation_ != generation_; }

// --- lower end

size_t Terminal::input(std::span<const uint8_t> bytes) {
    const size_t taken = discipline_.receive(bytes);
    if (!output_.empty()) push_output();
    wake();
    return taken;
}

void Terminal::output(std::span<const uint8_t> bytes) {
    if (!discipline_.output_stopped()) {
        output_.put(bytes);
        return;
    }
    const size_t size = std::min(bytes.size(), sizeof held_ - held_size_);
    memcpy(held_ + held_size_, bytes.data(), size);
    held_size_ += size;
}

void Terminal::signal_key(int signal) { (void)signal_foreground(signal); }

void Terminal::discard_output() {
    held_size_ = 0;
    output_discarded();
    packet_event(kPktFlushWrite);
}

void Terminal::set_output_stopped(bool stopped) {
    if (stopped) return packet_event(kPktStop, kPktStart);
    packet_event(kPktStart, kPktStop);
    output_.put({held_, held_size_});
    held_size_ = 0;
    push_output();
    wake();
}

// --- read

// Moves what the discipline has, up to the end of a line.
Result<size_t> Terminal::read_some(mm::IoBuffer& to, bool& line_over) {
    uint8_t chunk[kChunk];
    size_t done = 0;
    line_over = false;
    while (!line_over && !to.empty() && discipline_.has_input()) {
        const auto part = discipline_.read({chunk, std::min(to.remaining(), kChunk)});
        line_over = part.end_of_line;
        if (part.bytes == 0) break;
        const auto copied = to.put(chunk, part.bytes);
        if (copied.is_error()) return done ? Result<size_t>(done) : copied.error();
        done += copied.value();
        if (copied.value() < part.bytes) break;
    }
    if (done || line_over) input_taken();
    return done;
}

Result<size_t> Terminal::read(TerminalFile& file, mm::IoBuffer& to) {
    if (is_dead(file)) return size_t{0};
    if (line_gone()) return Errno::kIO;
    TRY(check_foreground(task::kSigTtin));
    // MIN and TIME of raw mode: with both, TIME runs from byte to byte; with TIME alone, from the start.
    const Termios& termios = discipline_.termios();
    size_t minimum = 1;
    sched::Nanoseconds between = 0, deadline = sched::kNever;
    if (!discipline_.canonical()) {
        const sched::Nanoseconds time = termios.cc[kVTime] * kTenthSecond;
        minimum = termios.cc[kVMin];
        if (minimum)
            between = time;
        else
            deadline = sched::now() + time, minimum = 1;
    }
    size_t done = 0;
    while (!to.empty()) {
        if (discipline_.has_input()) {
            bool line_over = false;
            const auto part = read_some(to, line_over);
            if (part.is_error()) return done ? Result<size_t>(done) : part.error();
            done += part.value();
            if (line_over || done >= minimum || discipline_.canonical()) break;
            if (between) deadline = sched::now() + between;
            continue;
        }
        if (is_dead(file)) break;
        if (deadline != sched::kNever && sched::now() >= deadline) break;
        if (file.nonblocking()) return done ? Result<size_t>(done) : Errno::kAGAIN;
        const auto waited = changed_.wait([&] { return discipline_.has_input() || is_dead(file); },
                                          sched::Interruptible::kYes, deadline);
        if (waited.is_error() && waited.error() != Errno::kTIMEDOUT)
            return done ? Result<size_t>(done) : waited.error();
    }
    return done;
}

// --- write

// Until this write has its turn and the terminal takes output.
Result<> Terminal::wait_to_write(TerminalFile& file) {
    if (writing_) {
        if (file.nonblocking()) return Errno::kAGAIN;
        TRY(changed_.wait([&] { return !writing_ || is_dead(file); }));
    }
    if (is_dead(file) || line_gone()) return Errno::kIO;
    return {};
}

Result<size_t> Terminal::write(TerminalFile& file, mm::IoBuffer& from) {
    if (is_dead(file) || line_gone()) return Errno::kIO;
    if (discipline_.termios().has_local(kToStop)) TRY(check_foreground(task::kSigTtou));
    TRY(wait_to_write(file));
    writing_ = true;
    uint8_t chunk[kChunk];
    size_t done = 0;
    Result<> end;
    while (!from.empty() && end.is_ok()) {
        const auto taken = from.take(chunk, kChunk);
        if (taken.is_error()) {
            end = taken.error();
            break;
        }
        for (size_t at = 0; at < taken.value();) {
            if (is_dead(file) || line_gone()) {
                end = Errno::kIO;
                break;
            }
            const size_t sent = discipline_.write({chunk + at, taken.value() - at});
            at += sent;
            done += sent;
            if (at == taken.value()) break;
            push_output();
            if (output_room() >= 8) continue;
            if (file.nonblocking()) {
                end = Errno::kAGAIN;
                break;
            }
            end = changed_.wait([&] { return output_room() >= 8 || is_dead(file) || line_gone(); });
            if (end.is_error()) break;
        }
    }
    writing_ = false;
    if (!output_.empty()) push_output();
    wake();
    if (done == 0 && end.is_error()) return end.error();
    return done;
}

// tcdrain(3).
Result<> Terminal::drain() {
    return changed_.wait([&] { return unsent() == 0 || line_gone(); });
}

// --- poll

vfs::PollState Terminal::poll(TerminalFile& file) {
    using namespace vfs;
    if (is_dead(file)) return {kPollIn | kPollOut | kPollErr | kPollHup | kPollRdNorm | kPollWrNorm, &changed_};
    const Termios& termios = discipline_.termios();
    const size_t minimum = !discipline_.canonical() && !termios.cc[kVTime] && termios.cc[kVMin] ? termios.cc[kVMin] : 1;
    uint32_t events = 0;
    if (discipline_.has_input(minimum)) events |= kPollIn | kPollRdNorm;
    if (line_gone()) events |= kPollHup;
    if (!writing_ && output_room() >= kWakeupLevel) events |= kPollOut | kPollWrNorm;
    return {events, &changed_};
}

}  // namespace kvmsbx::fs
