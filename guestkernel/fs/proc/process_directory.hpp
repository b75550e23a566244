#pragma once
// /proc/PID and what is below it.
#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/subject.hpp"

namespace kvmsbx::fs {

// /proc/PID, or /proc/PID/task/TID for a subject that is a thread.
Result<RefPtr<vfs::Inode>> make_process_directory(RefPtr<vfs::FileSystem> fs, ProcSubject subject);
uint64_t process_ino(const ProcSubject& subject);
// Whom a /proc/PID stands for; null for any other inode.
RefPtr<task::Process> process_of_directory(const vfs::Inode& inode);

}  // namespace kvmsbx::fs
