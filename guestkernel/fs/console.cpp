#include "guestkernel/fs/console.hpp"

#include "guestkernel/fs/console_stream.hpp"
#include "guestkernel/lib/format.hpp"

namespace kvmsbx::fs {
namespace {

constexpr int kStandardFiles = 3;

RefPtr<ConsoleTerminal> console;

// By the name that fits best: ttyname(3) finds /dev/pts/N so.
Result<RefPtr<vfs::File>> open_terminal(task::Task& task, RefPtr<ConsoleTerminal> terminal) {
    FixedText<24> name;
    format_to(name, "/dev/pts/{}", terminal->index);
    auto place = vfs::walk(task.caller(), task.fs().root, name.view(), vfs::Follow::kYes);
    bool found = place.is_ok() && place.value().inode().type() == vfs::kModeChar &&
                 place.value().inode().fs().type_name() == "devpts";
    if (!found && terminal == console) {
        place = vfs::walk(task.caller(), task.fs().root, "/dev/console", vfs::Follow::kYes);
        found = place.is_ok() && place.value().inode().type() == vfs::kModeChar;
    }
    return TerminalFile::open(std::move(terminal), found ? place.release_value() : vfs::Path(), vfs::kORdwr, true);
}

Result<> install_terminal(task::Task& task, ConsoleTerminal& terminal) {
    terminal.node.uid = task.credentials().euid;
    auto file = TRY(open_terminal(task, RefPtr<ConsoleTerminal>(terminal)));
    for (int fd = 0; fd < kStandardFiles; ++fd) TRY(task.files().install_at(fd, file, false, kStandardFiles));
    if (task.process().session) terminal.attach_to(task.process());
    return {};
}

// The standard streams are what their names say, even where the host's descriptor is for both: what one of them read
// ahead would be lost for another of the same terminal.
uint32_t access_of(HostStream& stream, int fd) {
    if (fd < kStandardFiles) return fd == 0 ? vfs::kORdonly : vfs::kOWronly;
    const platform::StreamAccess access = stream.access();
    return access.readable && access.writable ? vfs::kORdwr : access.writable ? vfs::kOWronly : vfs::kORdonly;
}

HostStreams without_first(HostStreams streams, size_t count) {
    for (size_t i = 0; i < count && !streams.empty(); ++i) streams.erase(0);
    return streams;
}

}  // namespace

Terminal* console_terminal() { return console.get(); }

Result<StandardFiles> make_console(HostStreams streams, bool terminal, const WindowSize& size) {
    if (!terminal) return StandardFiles{nullptr, std::move(streams)};
    // Output may go elsewhere (`run` in a pipe).
    console = TRY(ConsoleTerminal::create(streams[0], streams[1], ConsoleTerminal::Unused::kStays, size));
    return StandardFiles{console, without_first(std::move(streams), kStandardFiles)};
}

Result<StandardFiles> make_standard_files(HostStreams streams, bool terminal, const WindowSize& size) {
    if (!terminal) return StandardFiles{nullptr, std::move(streams)};
    auto made = TRY(ConsoleTerminal::create(streams[0], streams[0], ConsoleTerminal::Unused::kEnds, size));
    return StandardFiles{std::move(made), without_first(std::move(streams), 1)};
}

Result<> install_standard_files(task::Task& task, StandardFiles& files) {
    int fd = 0;
    if (files.terminal) {
        TRY(install_terminal(task, *files.terminal));
        fd = kStandardFiles;
    }
    for (RefPtr<HostStream>& stream : files.streams) {
        const uint32_t access = access_of(*stream, fd);
        auto file = TRY(open_stream(std::move(stream), access, task.credentials()));
        TRY(task.files().install_at(fd, std::move(file), false, static_cast<uint64_t>(fd) + 1));
        ++fd;
    }
    files.streams.clear();
    return {};
}

}  // namespace kvmsbx::fs
