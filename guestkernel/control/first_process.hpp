#pragma once
// The first process's way to its program, as the monitor sees it: Ready and Start where it waits, else at once; Failed
// and the sandbox's end where it cannot run.
#include "guestkernel/control/failure.hpp"
#include "guestkernel/fs/tty/console_terminal.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::control {

enum class StartsBy : bool { kItself, kRequest };

// Before anything can fail. terminal: null if it has none.
void begin_first_process(StartsBy by);
void set_first_terminal(RefPtr<fs::ConsoleTerminal> terminal);
fs::ConsoleTerminal* first_terminal();

// Ends the sandbox with the failure's code. The monitor is told, and stderr unless the monitor asked to start the
// process.
[[noreturn]] void end_with(const Failure& failure);
// Its task says that it could run now, and goes on when it shall. Ends it where a signal does.
void await_start(task::Task& task);
// Its program runs.
void first_process_runs();
bool is_first_process_running();

// control::Start. False: it does not wait for that.
bool start_first_process(uint64_t id);

}  // namespace kvmsbx::control
