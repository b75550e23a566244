#pragma once
// Processes and tasks by number.
#include "guestkernel/task/task.hpp"

namespace kvmsbx::task {

Process* find_process(int32_t pid);  // zombies too; null if there is none
Task* find_task(int32_t tid);
// Calls visit(Process&) in order of pid; visit may not block.
template <typename Visit>
void for_each_process(Visit visit);
// First process with pid >= from, or null: for walks that may block in between (/proc).
Process* next_process(int32_t from);
Process& first_process();  // pid 1
bool group_exists(int32_t group, int32_t session);

// Sends a signal to a process, a task, or all of a group. Permission is the caller's business (kill(2)). Wakes, stops,
// continues as needed. Never blocks.
void send_signal(Process& process, const SigInfo& info);
void send_signal(Task& task, const SigInfo& info);
void send_signal_to_group(int32_t group, const SigInfo& info);
SigInfo kernel_signal(int signal);  // si_code SI_KERNEL
// A fault of the running task (SIGSEGV, SIGILL...): cannot be blocked or ignored.
void force_signal(Task& task, const SigInfo& info);
// tcsetattr & co. from the background (termios(3), job control): sends SIGTTOU/SIGTTIN to the caller's group unless
// ignored, blocked or orphaned.
bool is_orphaned_group(int32_t group);
bool signal_ignored_or_blocked(Task& task, int signal);

template <typename Visit>
void for_each_process(Visit visit) {
    for (Process* process = next_process(0); process; process = next_process(process->pid + 1)) visit(*process);
}

}  // namespace kvmsbx::task
