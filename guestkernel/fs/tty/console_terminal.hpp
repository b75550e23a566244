#pragma once
// The terminal of a process that the host has given one (process.terminal): its lower end is the host's (in raw mode
// there), reached by streams. Its number in the first devpts is its own, as if its pty came from there; the first
// process's is /dev/pts/0 and /dev/console.
#include "guestkernel/fs/host_stream.hpp"
#include "guestkernel/fs/tty/pty.hpp"

namespace kvmsbx::fs {

class ConsoleTerminal final : public Terminal, HostStream::User {
  public:
    // kEnds: when it is no session's terminal and the last File on it is closed, its streams are closed and its node is
    // gone, as with a pty whose slaves are closed.
    enum class Unused : bool { kStays, kEnds };
    // The streams may be the same. ENOMEM, ENOSPC.
    static Result<RefPtr<ConsoleTerminal>> create(RefPtr<HostStream> keys, RefPtr<HostStream> screen, Unused unused,
                                                  const WindowSize& size);
    ConsoleTerminal(RefPtr<PtsFileSystem> instance, uint32_t index, RefPtr<HostStream> keys, RefPtr<HostStream> screen,
                    Unused unused);
    ~ConsoleTerminal() override;

    // Until all output is with the host, the line is gone, or the deadline has passed.
    void drain(sched::Nanoseconds deadline);

    const uint32_t index;

  private:
    void host_ready() override;
    void push_output() override;
    void input_taken() override { pump_input(); }
    void output_discarded() override { output_.clear(); }
    bool line_gone() const override { return gone_; }
    bool has_node() const override { return !ended_; }
    size_t unsent() const override { return output_.size(); }
    void file_opened() override {
        ++files_;
        was_used_ = true;
    }
    void closed() override;
    void session_gone() override { end_if_unused(); }
    void end_if_unused();
    void pump_input();
    void lose_line();

    const RefPtr<PtsFileSystem> instance_;
    const RefPtr<HostStream> keys_from_, screen_;
    const Unused unused_;
    ByteRing keys_;  // read from the host, not yet taken by the discipline
    unsigned files_ = 0;
    bool was_used_ = false;  // opened once; before that nobody can have stopped using it
    bool gone_ = false;      // the line
    bool ended_ = false;     // see Unused::kEnds
    bool pumping_ = false;
};

}  // namespace kvmsbx::fs
