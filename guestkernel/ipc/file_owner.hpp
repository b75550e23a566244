#pragma once
// Signals about input and output (fcntl F_SETOWN, F_SETOWN_EX, F_SETSIG and O_ASYNC). An open file description can
// have a FileOwner (vfs::File::signal_owner): a thread, process or group, and a signal. With O_ASYNC it hangs in the
// description's poll queue, as an epoll interest does, and sends the signal when the file becomes ready; only what a
// signal cannot make ready may have it (syscalls/fcntl.cpp), or a signal would send another for ever. Process
// numbers are looked up at that time; the sender's rights are those of who called F_SETOWN. F_NOTIFY (dnotify.hpp)
// sends to the same owner.
#include "guestkernel/auth/credentials.hpp"
#include "guestkernel/sched/sched.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::ipc {

enum class PollCode : int32_t { kIn = 1, kOut = 2, kMessage = 3 };  // si_code POLL_IN, POLL_OUT, POLL_MSG

enum class OwnerKind : int32_t { kThread = 0, kProcess = 1, kGroup = 2 };  // F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP

class FileOwner final : public RefCounted, private sched::Waiter {
  public:
    explicit FileOwner(vfs::File& file) : file_(file) {}
    // The file's, made if there is none. ENOMEM.
    static Result<FileOwner*> of(vfs::File& file);
    static FileOwner* find(vfs::File& file) { return static_cast<FileOwner*>(file.signal_owner.get()); }

    // id 0: nobody. ESRCH: no thread, process or group has that number; whether one of that kind does is seen when a
    // signal is sent.
    Result<> set(OwnerKind kind, int32_t id, const auth::Credentials& who);
    // Without an owner, the caller's process becomes it, for as long as the calling thread lives.
    void set_if_none(const task::Task& caller);
    OwnerKind kind() const { return kind_; }
    int32_t id() const;  // 0: nobody, or gone
    // O_ASYNC of the description was changed: its flags say to what.
    void follow_flags();
    // Urgent data came to the socket: SIGURG, with or without O_ASYNC.
    void urgent();

    // Tells the owner; with F_SETSIG's signal, the siginfo is about the descriptor.
    void send(PollCode code, int32_t descriptor);

    int32_t signal = 0;  // 0: SIGIO without siginfo
    int32_t fd = -1;     // si_fd: the descriptor by which O_ASYNC was set

  private:
    void notify(uint32_t events) override;
    void send_to_owner(const task::SigInfo& info);
    vfs::File& file_;
    OwnerKind kind_ = OwnerKind::kProcess;
    int32_t id_ = 0;
    uint32_t uid_ = 0, euid_ = 0;
};

}  // namespace kvmsbx::ipc
