#pragma once
// The console of a container with process.terminal: a terminal whose lower end is the host's (in raw mode there),
// reached by hypercalls that never block. After EAGAIN the VMM sends HostEventType::kConsole when the stream can go on.
// It is /dev/pts/0 and /dev/console.
#include "guestkernel/fs/tty/terminal.hpp"

namespace kvmsbx::fs {

class ConsoleTerminal final : public Terminal {
  public:
    static Result<RefPtr<ConsoleTerminal>> create(const WindowSize& size);
    ConsoleTerminal();
    // HostEventType::kConsole.
    void host_ready(unsigned stream);

  private:
    void push_output() override;
    void input_taken() override { pump_input(); }
    void output_discarded() override { output_.clear(); }
    bool line_gone() const override { return gone_; }
    size_t unsent() const override { return output_.size(); }
    void pump_input();
    void lose_line();

    ByteRing keys_;  // read from the host, not yet taken by the discipline
    bool gone_ = false;
    bool pumping_ = false;
};

}  // namespace kvmsbx::fs
