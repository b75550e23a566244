#include "guestkernel/control/inspect.hpp"

#include <algorithm>

#include "guestkernel/fs/proc/subject.hpp"
#include "guestkernel/fs/sys/sys.hpp"
#include "guestkernel/sched/quota.hpp"
#include "guestkernel/syscalls/syscall.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/oom.hpp"
#include "guestkernel/task/pids.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/vfs/device.hpp"

namespace kvmsbx::control {
namespace {

constexpr size_t kMostOfCommand = 4096;  // bytes

// Of the arguments what is in memory; they end with NULs, which become blanks.
void put_arguments(mm::AddressSpace& space, TextSink& sink) {
    mm::UserAddress at = space.arguments_start;
    const mm::UserAddress end = std::min(space.arguments_end, at + kMostOfCommand);
    bool blank = false;  // one is due, if anything follows
    for (; at < end; ++at) {
        const char* byte = space.translate(at, mm::Access::kRead);
        if (!byte) return;
        if (blank) sink.put(" ");
        blank = *byte == '\0';
        if (!blank) sink.put({byte, 1});
    }
}

Result<String> command_of(task::Process& process) {
    task::Task* task = process.leader();
    StringText text;
    if (task && task->space_) put_arguments(task->space(), text);
    String command = TRY(text.take());
    if (!command.empty()) return command;
    StringText name;
    format_to(name, "[{}]", static_cast<const char*>(task ? task->name : process.last_name));
    return name.take();
}

Result<String> terminal_of(const task::Process& process) {
    if (!process.session || !process.session->terminal) return String::create("?");
    StringText text;
    format_to(text, "pts/{}", vfs::minor_of(process.session->terminal->device_number()));
    return text.take();
}

// What an entry points at.
struct Texts {
    String terminal, command;
};

uint64_t start_second(const task::Process& process) {
    const sched::Nanoseconds age = sched::boottime_now() - process.start_time;
    return (sched::realtime_now() - age) / task::kNsPerSecond;
}

Result<> add_process(task::Process& process, Vector<ProcessEntry<wire::Borrowed>>& entries, Vector<Texts>& texts) {
    task::Task* task = process.leader();
    ProcessEntry<wire::Borrowed> entry;
    entry.pid = process.pid;
    entry.parent = process.parent ? process.parent->pid : 0;
    entry.uid = task ? task->credentials().euid : process.last_uid;
    entry.threads = static_cast<uint32_t>(process.threads.size());
    entry.cpu_ns = task::cpu_time_of(process);
    entry.resident = task && task->space_ ? task->space().resident_pages() * mm::kPageSize : 0;
    entry.started_s = start_second(process);
    entry.state = static_cast<uint8_t>(fs::state_of({RefPtr<task::Process>(process), process.pid, false}));
    TRY(texts.push_back({TRY(terminal_of(process)), TRY(command_of(process))}));
    return entries.push_back(entry);
}

Result<> collect(Vector<ProcessEntry<wire::Borrowed>>& entries, Vector<Texts>& texts) {
    Result<> result;
    task::for_each_process([&](task::Process& process) {
        if (result.is_ok()) result = add_process(process, entries, texts);
    });
    TRY(std::move(result));
    for (size_t i = 0; i < entries.size(); ++i) {
        entries[i].terminal = texts[i].terminal.view();
        entries[i].command = texts[i].command.view();
    }
    return {};
}

}  // namespace

void send_processes(uint64_t id) {
    Vector<ProcessEntry<wire::Borrowed>> entries;
    Vector<Texts> texts;
    if (collect(entries, texts).is_error()) return send_out_of_memory(id);
    send(id, Processes<wire::Borrowed>{entries.span()});
}

Usage usage() {
    const fs::GroupUsage group = fs::group_usage();
    Usage usage;
    usage.cpu_user_ns = group.cpu.user;
    usage.cpu_system_ns = group.cpu.system;
    const sched::QuotaAccount::Statistics quota = sched::cpu_quota().statistics(sched::now());
    usage.cpu_periods = quota.periods;
    usage.cpu_throttled_periods = quota.throttled_periods;
    usage.cpu_throttled_ns = quota.throttled_time;
    usage.memory = group.memory;
    usage.memory_peak = group.memory_peak;
    usage.memory_limit = group.memory_limit;
    usage.memory_cache = group.file_memory;
    usage.memory_failures = group.memory_failures;
    usage.oom_kills = task::oom_kills();
    usage.minor_faults = group.cpu.minor_faults;
    usage.major_faults = group.cpu.major_faults;
    usage.pids = group.threads;
    usage.pids_limit = task::pids_statistics().limit;
    return usage;
}

namespace {

void put_call(const task::Task& task, TextSink& sink) {
    const syscalls::Entry* entry = syscalls::find(task.in_syscall);
    const abi::UserRegs& regs = task.regs;
    if (task.state() != sched::Thread::State::kBlocked)
        sink.put("runs or wants to\n");
    else if (task.awaits_quota)
        sink.put("waits for the next period of the CPU quota\n");
    else if (!entry)
        sink.put("waits outside of system calls\n");
    else
        format_to(sink, "waits in {}(0x{x}, 0x{x}, 0x{x}, 0x{x}, 0x{x}, 0x{x})\n", entry->name, regs.rdi, regs.rsi,
                  regs.rdx, regs.r10, regs.r8, regs.r9);
}

void put_stack(task::Task& task, TextSink& sink) {
    constexpr size_t kDepth = 24;
    const fs::ProcSubject subject{task.process_, task.tid, true};
    format_to(sink, "{}/{} {} {} ", task.process().pid, task.tid, static_cast<const char*>(task.name),
              fs::state_of(subject));
    put_call(task, sink);
    uint64_t addresses[kDepth];
    const size_t count = task.waits_at(addresses);
    for (size_t i = 0; i < count; ++i) format_to(sink, "  {016x}\n", addresses[i]);
}

}  // namespace

void send_stacks(uint64_t id) {
    StringText text;
    task::for_each_process([&](task::Process& process) {
        for (task::Task& task : process.threads) put_stack(task, text);
    });
    const auto report = text.take();
    if (report.is_error()) return send_out_of_memory(id);
    send(id, Report<wire::Borrowed>{report.value().view()});
}

}  // namespace kvmsbx::control
