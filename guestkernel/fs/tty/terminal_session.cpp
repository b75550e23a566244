// Sessions, controlling terminals and job control (credentials(7); tty_jobctrl.c).
#include "guestkernel/fs/tty/terminal.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::fs {
namespace {

bool is_leader(const task::Process& process) { return process.session && process.session->id == process.pid; }

}  // namespace

Terminal* current_terminal() {
    task::Session* session = task::current().process().session.get();
    // SAFETY: every ControllingTerminal is a Terminal; nothing else derives from it.
    return session && session->terminal ? static_cast<Terminal*>(session->terminal.get()) : nullptr;
}

bool Terminal::controls(const task::Process& process) const {
    return process.session && process.session->terminal == this;
}

void Terminal::attach_to(task::Process& process) {
    session_ = process.session;
    session_->terminal = RefPtr<task::ControllingTerminal>(*this);
    foreground_ = process.group;
}

void Terminal::detach_session() {
    const RefPtr<Terminal> self(*this);  // the session's reference may be the last one
    if (session_ && session_->terminal == this) session_->terminal = nullptr;
    session_ = nullptr;
    foreground_ = 0;
    session_gone();
}

bool Terminal::signal_foreground(int signal) {
    if (foreground_ <= 0) return false;
    task::send_signal_to_group(foreground_, task::kernel_signal(signal));
    return true;
}

void Terminal::session_leader_exited() {
    signal_foreground(task::kSigHup);
    signal_foreground(task::kSigCont);
    detach_session();
    wake();
}

void Terminal::hang_up() {
    ++generation_;
    if (session_) {
        if (task::Process* leader = task::find_process(session_->id)) {
            task::send_signal(*leader, task::kernel_signal(task::kSigHup));
            task::send_signal(*leader, task::kernel_signal(task::kSigCont));
        }
        detach_session();
    }
    discipline_.flush_input();
    held_size_ = 0;
    wake();
}

Result<> Terminal::opened(bool noctty, uint32_t flags) {
    if (line_gone() || locked()) return Errno::kIO;
    if (exclusive_ && !task::current().credentials().has(auth::Capability::kSysAdmin)) return Errno::kBUSY;
    const bool readable = (flags & vfs::kOAccMode) != vfs::kOWronly;
    if (!noctty && readable && !session_) {  // at start (noctty) there is no current task
        task::Process& process = task::current().process();
        if (is_leader(process) && !process.session->terminal) attach_to(process);
    }
    file_opened();
    return {};
}

Result<> Terminal::check_foreground(int signal) {
    task::Task& task = task::current();
    task::Process& process = task.process();
    if (!controls(process) || foreground_ == 0 || process.group == foreground_) return {};
    if (task::signal_ignored_or_blocked(task, signal)) {
        if (signal == task::kSigTtin) return Errno::kIO;
        return {};
    }
    if (task::is_orphaned_group(process.group)) return Errno::kIO;
    task::send_signal_to_group(process.group, task::kernel_signal(signal));
    return Errno::kRESTARTSYS;
}

// TIOCSCTTY.
Result<> Terminal::make_controlling(uint64_t argument, uint32_t flags) {
    task::Process& process = task::current().process();
    const bool privileged = task::current().credentials().has(auth::Capability::kSysAdmin);
    if (is_leader(process) && session_ == process.session) return {};
    if (!is_leader(process) || process.session->terminal) return Errno::kPERM;
    if (session_) {
        if (argument != 1 || !privileged) return Errno::kPERM;
        detach_session();
    }
    if ((flags & vfs::kOAccMode) == vfs::kOWronly && !privileged) return Errno::kPERM;
    attach_to(process);
    return {};
}

// TIOCNOTTY.
Result<> Terminal::give_up_controlling() {
    task::Process& process = task::current().process();
    if (!controls(process)) return Errno::kNOTTY;
    // A member that is no leader would give the terminal up for itself alone; the tie belongs to the session here.
    if (!is_leader(process)) return Errno::kPERM;
    signal_foreground(task::kSigHup);
    signal_foreground(task::kSigCont);
    detach_session();
    return {};
}

// TIOCSPGRP.
Result<> Terminal::set_foreground(mm::AddressSpace& space, uint64_t argument) {
    task::Process& process = task::current().process();
    if (const auto allowed = check_foreground(task::kSigTtou); allowed.is_error())
        return allowed.error() == Errno::kIO ? Errno::kNOTTY : allowed.error();
    const int32_t group = TRY(mm::UserIn<int32_t>{argument}.load(space));
    if (group < 0) return Errno::kINVAL;
    if (!controls(process) || session_ != process.session) return Errno::kNOTTY;
    if (!task::group_exists(group, session_->id)) {
        bool elsewhere = false;
        task::for_each_process([&](task::Process& other) { elsewhere |= other.group == group; });
        return elsewhere ? Errno::kPERM : Errno::kSRCH;
    }
    foreground_ = group;
    return {};
}

Result<int64_t> Terminal::session_ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument, uint32_t flags,
                                        Side side) {
    const bool allowed = side == Side::kMaster || controls(task::current().process());
    switch (request) {
        case kTiocSctty: TRY(make_controlling(argument, flags)); return 0;
        case kTiocNotty: TRY(give_up_controlling()); return 0;
        case kTiocSpgrp: TRY(set_foreground(space, argument)); return 0;
        case kTiocGpgrp:
            if (!allowed) return Errno::kNOTTY;
            TRY(mm::UserOut<int32_t>{argument}.store(space, foreground_));
            return 0;
        default:  // kTiocGsid
            if (!allowed || !session_) return Errno::kNOTTY;
            TRY(mm::UserOut<int32_t>{argument}.store(space, session_->id));
            return 0;
    }
}

}  // namespace kvmsbx::fs
