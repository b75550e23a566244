// seccomp(2), and prctl(2)'s older way to it.
#include "guestkernel/task/seccomp.hpp"

#include "guestkernel/syscalls/handlers_creds.hpp"

namespace kvmsbx::syscalls {

using namespace kvmsbx::task;

namespace {

enum Operation : uint32_t { kSetModeStrict = 0, kSetModeFilter = 1, kGetActionAvailable = 2 };

struct Program {  // struct sock_fprog
    uint16_t length;
    uint16_t pad[3];
    uint64_t instructions;
};

Result<Vector<bpf::Instruction>> load_program(Task& task, uint64_t address) {
    const Program header = TRY(UserIn<Program>{address}.load(task.space()));
    if (header.length == 0 || header.length > bpf::kMostInstructions) return Errno::kINVAL;
    if (!task.credentials().no_new_privileges && !task.credentials().has(auth::Capability::kSysAdmin))
        return Errno::kACCES;
    Vector<bpf::Instruction> program;
    TRY(program.resize(header.length));
    TRY(UserIn<bpf::Instruction>{header.instructions}.load_array(task.space(), program.span()));
    return program;
}

Result<int64_t> set_filter(Task& task, uint32_t flags, uint64_t address) {
    if (flags & ~kSeccompFlags) return Errno::kINVAL;
    const int32_t other = TRY(add_seccomp_filter(task, TRY(load_program(task, address)),
                                                 flags & kSeccompFlagTsync ? AllThreads::kYes : AllThreads::kNo));
    if (other && flags & kSeccompFlagTsyncEsrch) return Errno::kSRCH;
    return other;
}

Result<int64_t> action_available(Task& task, uint64_t address) {
    switch (TRY(UserIn<uint32_t>{address}.load(task.space()))) {
        case kSeccompKillProcess:
        case kSeccompKillThread:
        case kSeccompTrap:
        case kSeccompErrno:
        case kSeccompTrace:
        case kSeccompLog:
        case kSeccompAllow: return 0;
        default: return Errno::kOPNOTSUPP;
    }
}

}  // namespace

Result<int64_t> sys_seccomp(Task& task, uint32_t operation, uint32_t flags, uint64_t argument) {
    switch (operation) {
        case kSetModeStrict:
            if (flags || argument) return Errno::kINVAL;
            TRY(enter_strict_mode(task));
            return 0;
        case kSetModeFilter: return set_filter(task, flags, argument);
        case kGetActionAvailable: return flags ? Result<int64_t>(Errno::kINVAL) : action_available(task, argument);
        default: return Errno::kINVAL;
    }
}

Result<int64_t> set_seccomp_by_prctl(Task& task, uint64_t mode, uint64_t filter) {
    constexpr uint64_t kStrict = 1, kFilter = 2;
    if (mode == kStrict) return sys_seccomp(task, kSetModeStrict, 0, 0);
    return mode == kFilter ? set_filter(task, 0, filter) : Result<int64_t>(Errno::kINVAL);
}

}  // namespace kvmsbx::syscalls
