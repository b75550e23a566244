#pragma once
// What a process that the host starts has as descriptors 0, 1 and 2: one terminal (tty/console_terminal.hpp), or three
// byte streams (console_stream.hpp); and as 3, 4 ... the streams behind these.
#include "guestkernel/fs/host_stream.hpp"
#include "guestkernel/fs/tty/console_terminal.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::fs {

struct StandardFiles {
    RefPtr<ConsoleTerminal> terminal;  // null: `streams` begin with the standard ones
    HostStreams streams;
};

// streams: of the first process. Its terminal is /dev/console. ENOMEM.
Result<StandardFiles> make_console(HostStreams streams, bool terminal, const WindowSize& size);
// streams: of another process; the first is the terminal's. ENOMEM, ENOSPC.
Result<StandardFiles> make_standard_files(HostStreams streams, bool terminal, const WindowSize& size);

// Opens them as the descriptors of a task that is not running its program yet; its session gets the terminal as
// controlling one. The caller is that task.
Result<> install_standard_files(task::Task& task, StandardFiles& files);

}  // namespace kvmsbx::fs
