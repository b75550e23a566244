// /proc/PID/oom_score, oom_score_adj (proc(5)).
#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/fs/proc/subject.hpp"
#include "guestkernel/task/oom.hpp"

namespace kvmsbx::fs {

Result<> put_oom_score(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    // oom_badness in thousandths of all memory, from -1000..1000 to 0..2000 and two thirds of it.
    const uint64_t total = mm::memory_statistics().total / mm::kPageSize;
    const int64_t points = task::oom_badness(*subject.process);
    const int64_t share = points == task::kOomNever ? 0 : (1000 + points * 1000 / static_cast<int64_t>(total)) * 2 / 3;
    format_to(sink, "{}\n", share < 0 ? 0 : share);
    return {};
}

Result<> put_oom_score_adjustment(const ProcSubject& subject, TextSink& sink) {
    if (!subject.alive()) return Errno::kSRCH;
    format_to(sink, "{}\n", static_cast<int>(subject.process->oom_score_adjustment));
    return {};
}

Result<> store_oom_score_adjustment(const ProcSubject& subject, std::string_view text) {
    text = trimmed(text);
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    if (text.empty() || text.size() > 9) return Errno::kINVAL;
    int value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') return Errno::kINVAL;
        value = value * 10 + (c - '0');
    }
    if (value > 1000) return Errno::kINVAL;
    if (negative) value = -value;
    task::Process& process = *subject.process;
    const bool privileged = task::current().credentials().has(auth::Capability::kSysResource);
    if (value < process.oom_score_adjustment_minimum && !privileged) return Errno::kACCES;
    process.oom_score_adjustment = static_cast<int16_t>(value);
    if (privileged) process.oom_score_adjustment_minimum = static_cast<int16_t>(value);
    return {};
}

}  // namespace kvmsbx::fs
