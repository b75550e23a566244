#include "guestkernel/fs/tty/terminal.hpp"

namespace kvmsbx::fs {

TerminalFile::TerminalFile(RefPtr<Terminal> terminal, const vfs::Path& path, uint32_t flags)
    : File(flags), terminal_(std::move(terminal)), path_(path), generation_(terminal_->generation()) {}

TerminalFile::~TerminalFile() {
    if (counted_) terminal_->closed();
}

Result<RefPtr<vfs::File>> TerminalFile::open(RefPtr<Terminal> terminal, const vfs::Path& path, uint32_t flags,
                                             bool noctty) {
    auto file = TRY(make_ref<TerminalFile>(
        terminal, path, flags & ~(vfs::kOCreat | vfs::kOExcl | vfs::kONoctty | vfs::kOTrunc | vfs::kOCloexec)));
    TRY(terminal->opened(noctty, flags));
    file->counted_ = true;
    file->generation_ = terminal->generation();
    return RefPtr<vfs::File>(std::move(file));
}

Result<int64_t> TerminalFile::ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    if (generation_ != terminal_->generation()) return request == kTiocSpgrp ? Errno::kNOTTY : Errno::kIO;
    return terminal_->ioctl(space, request, argument, flags, Terminal::Side::kTerminal);
}

Result<String> TerminalFile::describe() {
    if (!path_.is_set()) return String::create("/dev/console");
    return vfs::path_string(path_, task::current().fs().root);
}

}  // namespace kvmsbx::fs
