#pragma once
// The container's console: what the first process has as descriptors 0, 1 and 2. With process.terminal it is one
// terminal (tty/console_terminal.hpp), /dev/pts/0 and /dev/console; without, three byte streams (console_stream.hpp).
// Order at start: register_terminals() (tty/pty.hpp) -> create_console() -> mounts -> install_standard_files().
#include "common/abi/app_spec.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::fs {

// Makes the terminal, if there is to be one. ENOMEM.
Result<> create_console(const abi::AppOptions& options);
// Opens descriptors 0, 1, 2 of the first task, which is not running yet; its session gets the terminal as controlling
// one.
Result<> install_standard_files(task::Task& first, const abi::AppOptions& options);

// Host events (common/abi/hypercall.hpp).
void console_host_event(uint64_t stream);
void console_window_size(uint16_t rows, uint16_t columns);
// kSignal: to the foreground group where there is a terminal with one, else to the first process.
void console_signal(int signal);

}  // namespace kvmsbx::fs
