// rseq(2) and membarrier(2).
#include "guestkernel/task/rseq.hpp"
#include "guestkernel/platform/host.hpp"

#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/syscalls/handlers_misc.hpp"

namespace kvmsbx::syscalls {

using namespace kvmsbx::task;

namespace {

constexpr uint32_t kAreaAlignment = 32;

Result<int64_t> unregister(Task& task, uint64_t area, uint32_t length, uint32_t signature) {
    if (task.rseq_address != area || !area || task.rseq_length != length) return Errno::kINVAL;
    if (task.rseq_signature != signature) return Errno::kPERM;
    const uint32_t numbers[2] = {0, kRseqUninitialized};
    TRY(mm::copy_to_user(task.space(), area, numbers, sizeof numbers));
    task.rseq_address = 0;
    return 0;
}

enum Command : int32_t {
    kQuery = 0,
    kGlobal = 1,
    kGlobalExpedited = 2,
    kRegisterGlobal = 4,
    kPrivate = 8,
    kRegisterPrivate = 16,
    kPrivateSyncCore = 32,
    kRegisterSyncCore = 64,
    kPrivateRseq = 128,
    kRegisterRseq = 256,
    kGetRegistrations = 512,
};
constexpr int64_t kAllCommands = 1023;
constexpr uint32_t kForOneCpu = 1;  // MEMBARRIER_CMD_FLAG_CPU

void restart_sequences(Task& task) {
    for (Task& other : task.process().threads)
        if (&other != &task && other.rseq_address) other.rseq_pending = true;
}

Result<int64_t> registered(Task& task, int32_t registration) {
    if (!(task.space().barrier_registrations & static_cast<uint32_t>(registration))) return Errno::kPERM;
    return 0;
}

}  // namespace

Result<int64_t> sys_rseq(Task& task, uint64_t area, uint32_t length, int32_t flags, uint32_t signature) {
    constexpr int32_t kUnregister = 1;
    if (flags & kUnregister)
        return flags != kUnregister ? Result<int64_t>(Errno::kINVAL) : unregister(task, area, length, signature);
    if (flags) return Errno::kINVAL;
    if (task.rseq_address) {
        if (task.rseq_address != area || task.rseq_length != length) return Errno::kINVAL;
        return task.rseq_signature != signature ? Errno::kPERM : Errno::kBUSY;
    }
    if (length < sizeof(RseqArea) || area % kAreaAlignment) return Errno::kINVAL;
    if (area >= platform::user_end || length > platform::user_end - area) return Errno::kFAULT;
    TRY(UserOut<uint64_t>{area + offsetof(RseqArea, critical_section)}.store(task.space(), 0));
    task.rseq_address = area;
    task.rseq_length = length;
    task.rseq_signature = signature;
    task.rseq_cpu = kRseqUninitialized;
    task.rseq_pending = true;
    return 0;
}

Result<int64_t> sys_membarrier(Task& task, int32_t command, uint32_t flags, int32_t) {
    if (flags && (command != kPrivateRseq || flags != kForOneCpu)) return Errno::kINVAL;
    switch (command) {
        case kQuery: return kAllCommands;
        case kGetRegistrations: return task.space().barrier_registrations;
        case kRegisterGlobal:
        case kRegisterPrivate:
        case kRegisterSyncCore:
        case kRegisterRseq: task.space().barrier_registrations |= static_cast<uint32_t>(command); return 0;
        case kPrivate: TRY(registered(task, kRegisterPrivate)); break;
        case kPrivateSyncCore: TRY(registered(task, kRegisterSyncCore)); break;
        case kPrivateRseq:
            TRY(registered(task, kRegisterRseq));
            restart_sequences(task);
            break;
        case kGlobal:
        case kGlobalExpedited: break;
        default: return Errno::kINVAL;
    }
    sched::interrupt_applications();
    return 0;
}

}  // namespace kvmsbx::syscalls
