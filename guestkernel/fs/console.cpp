#include "guestkernel/fs/console.hpp"

#include "guestkernel/fs/console_stream.hpp"
#include "guestkernel/fs/tty/console_terminal.hpp"
#include "guestkernel/fs/tty/pty.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::fs {
namespace {

RefPtr<ConsoleTerminal> console;
bool has_streams;

// The console by the name that fits best: ttyname(3) finds /dev/pts/0 so.
Result<RefPtr<vfs::File>> open_console(task::Task& first) {
    for (std::string_view name : {std::string_view("/dev/pts/0"), std::string_view("/dev/console")}) {
        const auto place = vfs::walk(first.caller(), first.fs().root, name, vfs::Follow::kYes);
        if (place.is_error() || place.value().inode().type() != vfs::kModeChar) continue;
        if (name == "/dev/pts/0" && place.value().inode().fs().type_name() != "devpts") continue;
        return TerminalFile::open(console, place.value(), vfs::kORdwr, true);
    }
    return TerminalFile::open(console, vfs::Path(), vfs::kORdwr, true);
}

Result<> install_terminal(task::Task& first) {
    console->node.uid = first.credentials().euid;
    auto file = TRY(open_console(first));
    for (int fd = 0; fd < 3; ++fd) TRY(first.files().install_at(fd, file, false, 3));
    if (first.process().session) console->attach_to(first.process());
    return {};
}

}  // namespace

Terminal* console_terminal() { return console.get(); }

Result<> create_console(const abi::AppOptions& options) {
    if (!options.terminal || console) return {};
    console = TRY(
        ConsoleTerminal::create({static_cast<uint16_t>(options.rows), static_cast<uint16_t>(options.columns), 0, 0}));
    return {};
}

Result<> install_standard_files(task::Task& first, const abi::AppOptions& options) {
    if (options.terminal) {
        TRY(create_console(options));
        return install_terminal(first);
    }
    has_streams = true;
    for (int fd = 0; fd < 3; ++fd)
        TRY(first.files().install_at(fd, TRY(open_console_stream(static_cast<unsigned>(fd), first.credentials())),
                                     false, 3));
    return {};
}

void console_host_event(uint64_t stream) {
    if (stream > 2) return;
    if (console)
        console->host_ready(static_cast<unsigned>(stream));
    else if (has_streams)
        host_stream(static_cast<unsigned>(stream)).host_ready();
}

void console_window_size(uint16_t rows, uint16_t columns) {
    if (console) console->set_window_size({rows, columns, 0, 0});
}

void console_signal(int signal) {
    if (signal < 1 || signal > task::kSigMax) return;
    if (console && console->foreground_group() > 0)
        return task::send_signal_from_host_to_group(console->foreground_group(), signal);
    task::send_signal_from_host(task::first_process(), signal);
}

}  // namespace kvmsbx::fs
