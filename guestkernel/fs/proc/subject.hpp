#pragma once
// Whom a /proc/PID or /proc/PID/task/TID is about.
#include "guestkernel/lib/format.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::fs {

struct ProcSubject {
    RefPtr<task::Process> process;
    int32_t tid = 0;
    bool thread = false;  // /proc/PID/task/TID: numbers of the thread alone

    // The thread, or the process's first one. Null: it has ended (a zombie has none).
    task::Task* task() const;
    bool alive() const { return process->state != task::Process::State::kReaped && (!thread || task()); }
    uint32_t uid() const;
    uint32_t gid() const;
};

// ptrace(2)'s "access mode" for reading: same user, or CAP_SYS_PTRACE. EACCES.
Result<> may_inspect(const ProcSubject& subject);

// The third field of stat (proc(5)).
char state_of(const ProcSubject& subject);

// One function per file; ESRCH when the subject has ended.
Result<> put_stat(const ProcSubject& subject, TextSink& sink);
Result<> put_statm(const ProcSubject& subject, TextSink& sink);
Result<> put_status(const ProcSubject& subject, TextSink& sink);
Result<> put_cmdline(const ProcSubject& subject, TextSink& sink);
Result<> put_environ(const ProcSubject& subject, TextSink& sink);
Result<> put_auxv(const ProcSubject& subject, TextSink& sink);
Result<> put_comm(const ProcSubject& subject, TextSink& sink);
Result<> put_maps(const ProcSubject& subject, TextSink& sink);
Result<> put_smaps(const ProcSubject& subject, TextSink& sink);
Result<> put_smaps_rollup(const ProcSubject& subject, TextSink& sink);
Result<> put_limits(const ProcSubject& subject, TextSink& sink);
Result<> put_mounts(const ProcSubject& subject, TextSink& sink);
Result<> put_mountinfo(const ProcSubject& subject, TextSink& sink);
Result<> store_comm(const ProcSubject& subject, std::string_view text);

// process_state.cpp
Result<> put_syscall(const ProcSubject& subject, TextSink& sink);
Result<> put_stack(const ProcSubject& subject, TextSink& sink);
Result<> put_oom_score(const ProcSubject& subject, TextSink& sink);
Result<> put_oom_score_adj(const ProcSubject& subject, TextSink& sink);
Result<> store_oom_score_adj(const ProcSubject& subject, std::string_view text);
Result<> put_oom_adj(const ProcSubject& subject, TextSink& sink);
Result<> store_oom_adj(const ProcSubject& subject, std::string_view text);
Result<> put_coredump_filter(const ProcSubject& subject, TextSink& sink);
Result<> store_coredump_filter(const ProcSubject& subject, std::string_view text);
Result<> put_timer_slack(const ProcSubject& subject, TextSink& sink);
Result<> store_timer_slack(const ProcSubject& subject, std::string_view text);
Result<> put_io(const ProcSubject& subject, TextSink& sink);
Result<> put_login_uid(const ProcSubject& subject, TextSink& sink);
Result<> store_login_uid(const ProcSubject& subject, std::string_view text);
Result<> put_session_id(const ProcSubject& subject, TextSink& sink);
Result<> put_children(const ProcSubject& subject, TextSink& sink);

// Sizes of an address space in kB and pages, for status, stat and statm.
struct MemoryUse {
    uint64_t size = 0, resident = 0;                                                 // bytes
    uint64_t data = 0, stack = 0, code = 0, library = 0;                             // bytes
    uint64_t resident_anonymous = 0, resident_file = 0, resident_shared_memory = 0;  // bytes; resident is their sum
};
MemoryUse memory_use(mm::AddressSpace& space);

// /proc/PID/mem and pagemap: binary files by address.
Result<RefPtr<vfs::Inode>> make_memory_file(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject);
Result<RefPtr<vfs::Inode>> make_pagemap_file(RefPtr<vfs::FileSystem> fs, uint64_t ino, ProcSubject subject);

}  // namespace kvmsbx::fs
