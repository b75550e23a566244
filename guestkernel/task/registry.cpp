#include "guestkernel/task/registry.hpp"

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/pids.hpp"

namespace kvmsbx::task {
namespace {

struct TidOf {
    using type = int32_t;
    type operator()(const Task& task) const { return task.tid; }
};
struct PidOf {
    using type = int32_t;
    type operator()(const Process& process) const { return process.pid; }
};
Tree<Task, &Task::registry_hook, boost::intrusive::key_of_value<TidOf>> tasks;
Tree<Process, &Process::registry_hook, boost::intrusive::key_of_value<PidOf>> processes;
int32_t last_number;
uint64_t started_tasks;

bool number_taken(int32_t number) {
    if (tasks.find(number) != tasks.end() || processes.find(number) != processes.end()) return true;
    for (Process& process : processes)
        if (process.group == number || process.session->id == number) return true;
    return false;
}

}  // namespace

Result<int32_t> allocate_number() {
    for (int32_t tries = 0; tries < kPidMax; ++tries) {
        last_number = last_number >= kPidMax ? 300 : last_number + 1;
        if (!number_taken(last_number)) return last_number;
    }
    return Errno::kAGAIN;
}

Result<> claim_number(int32_t number) { return number_taken(number) ? Result<>(Errno::kEXIST) : Result<>(); }

void register_task(Task& task) {
    tasks.insert(task);
    ++started_tasks;
}
uint64_t tasks_started() { return started_tasks; }
void unregister_task(Task& task) {
    if (!task.registry_hook.is_linked()) return;
    task.registry_hook.unlink();
    if (task.tid != task.process().pid) release_pid();  // a leader counts until it is waited for
}
void register_process(Process& process) {
    process.ref();
    processes.insert(process);
}
void unregister_process(Process& process) {
    process.registry_hook.unlink();
    process.unref();
}

Process* find_process(int32_t pid) {
    auto it = processes.find(pid);
    return it == processes.end() ? nullptr : &*it;
}

Task* find_task(int32_t tid) {
    auto it = tasks.find(tid);
    return it == tasks.end() ? nullptr : &*it;
}

Process* next_process(int32_t from) {
    auto it = processes.lower_bound(from);
    return it == processes.end() ? nullptr : &*it;
}

Process& first_process() {
    Process* process = find_process(1);
    VERIFY(process);
    return *process;
}

bool group_exists(int32_t group, int32_t session) {
    for (Process& process : processes)
        if (process.group == group && process.session->id == session) return true;
    return false;
}

// POSIX: no member has a parent in the same session but in another group.
bool is_orphaned_group(int32_t group) {
    for (Process& process : processes) {
        if (process.group != group || process.state != Process::State::kAlive || !process.parent) continue;
        if (process.parent->group != group && process.parent->session->id == process.session->id) return false;
    }
    return true;
}

Task& current() { return static_cast<Task&>(sched::current()); }

}  // namespace kvmsbx::task
