// Files of /proc/PID that are a number or a line (Linux: fs/proc/base.c): where a thread is, what is set by writing.
#include <algorithm>
#include <limits>

#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/subject.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/task/clocks.hpp"
#include "guestkernel/task/oom.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::fs {
namespace {

constexpr int64_t kOomAdjMin = -1000, kOomAdjMax = 1000;                    // oom_score_adj
constexpr int64_t kOldAdjDisable = -17, kOldAdjMin = -16, kOldAdjMax = 15;  // oom_adj
constexpr uint64_t kCoredumpFilterMask = 0x1ff;

// kstrtoll with base 0: decimal, 0x, 0. EINVAL; ERANGE.
Result<int64_t> parse_number(std::string_view text) {
    text = trimmed(text);
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    unsigned base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        base = 16;
        text.remove_prefix(2);
    } else if (text.size() > 1 && text.front() == '0') {
        base = 8;
    }
    if (text.empty()) return Errno::kINVAL;
    constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
    uint64_t value = 0;
    for (char c : text) {
        const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                               : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                               : c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A' + 10)
                                                      : 16;
        if (digit >= base) return Errno::kINVAL;
        if (value > (kMost - digit) / base) return Errno::kRANGE;
        value = value * base + digit;
    }
    return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

// __set_oom_adj: only CAP_SYS_RESOURCE goes below `least`, and with it what counts as least from then on.
Result<> set_oom_score_adj(const ProcSubject& subject, int64_t value, int64_t least) {
    if (!subject.alive()) return Errno::kSRCH;
    task::Process& process = *subject.process;
    const bool privileged = task::current().credentials().has(auth::Capability::kSysResource);
    if (value < least && !privileged) return Errno::kACCES;
    process.oom_score_adj = static_cast<int16_t>(value);
    if (privileged) process.oom_score_adj_min = static_cast<int16_t>(value);
    return {};
}

bool is_other_process(const ProcSubject& subject) { return subject.process.get() != &task::current().process(); }

}  // namespace

// "running", or the number, the arguments, the stack pointer and the program counter of a blocked thread.
Result<> put_syscall(const ProcSubject& subject, TextSink& sink) {
    const task::Task* task = subject.task();
    if (!subject.alive() || !task) return Errno::kSRCH;
    TRY(may_inspect(subject));
    const abi::UserRegs& regs = task->regs;
    if (task->state() != sched::Thread::State::kBlocked) {
        sink.put("running\n");
    } else if (task->in_syscall == ~0ULL) {
        format_to(sink, "-1 0x{x} 0x{x}\n", regs.rsp, regs.rip);
    } else {
        format_to(sink, "{} 0x{x} 0x{x} 0x{x} 0x{x} 0x{x} 0x{x} 0x{x} 0x{x}\n", task->in_syscall, regs.rdi, regs.rsi,
                  regs.rdx, regs.r10, regs.r8, regs.r9, regs.rsp, regs.rip);
    }
    return {};
}

// A kernel's stack is for nobody in here.
Result<> put_stack(const ProcSubject&, TextSink&) { return Errno::kACCES; }

// oom_badness in thousandths of all memory, from -1000..1000 to 0..2000 and two thirds of it (proc(5)).
Result<> put_oom_score(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    const auto total = static_cast<int64_t>(mm::memory_statistics().total / mm::kPageSize);
    const int64_t points = task::oom_badness(*subject.process);
    const int64_t score = points == task::kOomNever ? 0 : (1000 + points * 1000 / total) * 2 / 3;
    format_to(sink, "{}\n", std::max<int64_t>(0, score));
    return {};
}

Result<> put_oom_score_adj(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    format_to(sink, "{}\n", subject.process->oom_score_adj);
    return {};
}

Result<> store_oom_score_adj(const ProcSubject& subject, std::string_view text) {
    const int64_t value = TRY(parse_number(text));
    if (value < kOomAdjMin || value > kOomAdjMax) return Errno::kINVAL;
    return set_oom_score_adj(subject, value, subject.process->oom_score_adj_min);
}

Result<> put_oom_adj(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    const int64_t adjustment = subject.process->oom_score_adj;
    format_to(sink, "{}\n", adjustment == kOomAdjMax ? kOldAdjMax : adjustment * -kOldAdjDisable / kOomAdjMax);
    return {};
}

Result<> store_oom_adj(const ProcSubject& subject, std::string_view text) {
    const int64_t value = TRY(parse_number(text));
    if ((value < kOldAdjMin || value > kOldAdjMax) && value != kOldAdjDisable) return Errno::kINVAL;
    const int64_t scaled = value == kOldAdjMax ? kOomAdjMax : value * kOomAdjMax / -kOldAdjDisable;
    return set_oom_score_adj(subject, scaled, subject.process->oom_score_adj);
}

Result<> put_coredump_filter(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    const task::Task* task = subject.task();
    if (task && task->space_) format_to(sink, "{08x}\n", subject.process->coredump_filter);
    return {};
}

Result<> store_coredump_filter(const ProcSubject& subject, std::string_view text) {
    const auto value = static_cast<uint64_t>(TRY(parse_number(text)));
    if (value > std::numeric_limits<uint32_t>::max()) return Errno::kRANGE;
    if (!subject.alive()) return Errno::kSRCH;
    subject.process->coredump_filter = static_cast<uint32_t>(value & kCoredumpFilterMask);
    return {};
}

Result<> put_timer_slack(const ProcSubject& subject, TextSink& sink) {
    const task::Task* task = subject.task();
    if (!subject.alive() || !task) return Errno::kSRCH;
    if (is_other_process(subject) && !task::current().credentials().has(auth::Capability::kSysNice))
        return Errno::kPERM;
    format_to(sink, "{}\n", task->timer_slack);
    return {};
}

Result<> store_timer_slack(const ProcSubject& subject, std::string_view text) {
    const int64_t value = TRY(parse_number(text));
    if (value < 0) return Errno::kINVAL;
    task::Task* task = subject.task();
    if (!subject.alive() || !task) return Errno::kSRCH;
    if (is_other_process(subject) && !task::current().credentials().has(auth::Capability::kSysNice))
        return Errno::kPERM;
    task->timer_slack = value == 0 ? task::kDefaultTimerSlack : static_cast<uint64_t>(value);
    return {};
}

// The gofer is the storage.
Result<> put_io(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    TRY(may_inspect(subject));
    const task::IoUsage io = (subject.thread ? task::usage_of(*subject.task()) : task::usage_of(*subject.process)).io;
    format_to(sink,
              "rchar: {}\nwchar: {}\nsyscr: {}\nsyscw: {}\nread_bytes: {}\nwrite_bytes: {}\n"
              "cancelled_write_bytes: 0\n",
              io.read_chars, io.written_chars, io.read_calls, io.write_calls, io.read_bytes, io.written_bytes);
    return {};
}

Result<> put_login_uid(const ProcSubject& subject, TextSink& sink) {
    const task::Task* task = subject.task();
    if (!subject.alive() || !task) return Errno::kSRCH;
    format_to(sink, "{}", task->audit.login_uid);
    return {};
}

// As Linux's audit_set_loginuid: of the writer alone; who has none may take any, and begins a session with it.
Result<> store_login_uid(const ProcSubject& subject, std::string_view text) {
    constexpr uint32_t kNone = ~0U;
    static uint32_t sessions = 0;
    task::Task& self = task::current();
    if (subject.task() != &self) return Errno::kPERM;
    const int64_t value = TRY(parse_number(text));
    if (value < 0) return Errno::kINVAL;
    if (value > kNone) return Errno::kRANGE;
    if (self.audit.login_uid != kNone && !self.credentials().has(auth::Capability::kAuditControl)) return Errno::kPERM;
    const auto uid = static_cast<uint32_t>(value);
    self.audit = {uid, uid == kNone ? kNone : ++sessions};
    return {};
}

Result<> put_session_id(const ProcSubject& subject, TextSink& sink) {
    const task::Task* task = subject.task();
    if (!subject.alive() || !task) return Errno::kSRCH;
    format_to(sink, "{}", task->audit.session);
    return {};
}

// A process's children belong to its first thread here.
Result<> put_children(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    if (subject.tid != subject.process->pid) return {};
    for (const task::Process& child : subject.process->children) format_to(sink, "{} ", child.pid);
    return {};
}

}  // namespace kvmsbx::fs
