#include "guestkernel/platform/host.hpp"
#include "guestkernel/syscalls/handlers_ptrace.hpp"

#include <cstring>

#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/remote_memory.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/trace_registers.hpp"

namespace kvmsbx::syscalls {

using namespace task;

namespace {

enum Request : int64_t {
    kTraceme = 0,
    kPeektext = 1,
    kPeekdata = 2,
    kPeekuser = 3,
    kPoketext = 4,
    kPokedata = 5,
    kPokeuser = 6,
    kCont = 7,
    kKill = 8,
    kSinglestep = 9,
    kGetregs = 12,
    kSetregs = 13,
    kGetfpregs = 14,
    kSetfpregs = 15,
    kAttach = 16,
    kDetach = 17,
    kSyscall = 24,
    kSetoptions = 0x4200,
    kGeteventmsg = 0x4201,
    kGetsiginfo = 0x4202,
    kSetsiginfo = 0x4203,
    kGetregset = 0x4204,
    kSetregset = 0x4205,
    kSeize = 0x4206,
    kInterrupt = 0x4207,
    kListen = 0x4208,
    kGetsigmask = 0x420a,
    kSetsigmask = 0x420b,
    kGetSyscallInfo = 0x420e,
};
constexpr uint64_t kNtPrstatus = 1, kNtFpregset = 2, kNtXstate = 0x202;
constexpr uint32_t kAuditArchX86 = 0xc000003e;

Result<> traceme(Task& task) {
    if (task.trace) return Errno::kPERM;
    Process* parent = task.process().parent;
    if (!parent || !parent->leader()) return Errno::kPERM;
    Task* tracer = find_task(task.process().forked_by);
    if (!tracer || &tracer->process() != parent) tracer = parent->leader();
    return attach_trace(task, *tracer, false, 0);
}

Result<> check_options(uint64_t options) {
    return options & ~uint64_t{kTraceOptions} ? Result<>(Errno::kINVAL) : Result<>();
}

Result<> attach(Task& tracer, int32_t pid, bool seize, uint64_t address, uint64_t options) {
    if (seize) {
        if (address) return Errno::kIO;
        if (check_options(options).is_error()) return Errno::kIO;
    }
    Task* target = find_task(pid);
    if (!target) return find_process(pid) ? Errno::kPERM : Errno::kSRCH;
    if (&target->process() == &tracer.process()) return Errno::kPERM;
    TRY(may_trace(tracer, *target, TraceAccess::kReal));
    if (target->exiting || target->process().exiting || target->trace) return Errno::kPERM;
    TRY(attach_trace(*target, tracer, seize, static_cast<uint32_t>(seize ? options : 0)));
    if (!seize) {
        SigInfo stop;
        stop.signo = kSigStop;
        stop.code = kSiKernel;
        MUST(target->pending.add(stop));
        interrupt_task(*target);
    }
    target->process().stop_queue.wake_all();  // it may be stopped by job control
    return {};
}

Result<Trace*> tracee_of(Task& tracer, int32_t pid) {
    Task* target = find_task(pid);
    if (!target || !target->trace || target->trace->tracer != &tracer) return Errno::kSRCH;
    return target->trace.get();
}

Result<uint64_t> peek(Task& tracee, uint64_t address) {
    uint64_t word = 0;
    const auto got = read_remote(tracee.space(), address, &word, sizeof word);
    if (got.is_error() || got.value() < sizeof word) return Errno::kIO;
    return word;
}

Result<> poke(Task& tracee, uint64_t address, uint64_t word) {
    const auto put = write_remote(tracee.space(), address, &word, sizeof word);
    return put.is_error() || put.value() < sizeof word ? Result<>(Errno::kIO) : Result<>();
}

Result<uint64_t> peek_user(const Task& tracee, uint64_t at) {
    if (at % 8 || at >= kUserAreaSize) return Errno::kIO;
    if (at >= sizeof(UserRegisters)) return uint64_t{0};
    const UserRegisters registers = get_registers(tracee);
    uint64_t word;
    memcpy(&word, reinterpret_cast<const char*>(&registers) + at, sizeof word);  // SAFETY: a structure as its bytes
    return word;
}

Result<> poke_user(Task& tracee, uint64_t at, uint64_t word) {
    if (at % 8 || at >= kUserAreaSize) return Errno::kIO;
    // No debug registers: they can only be off.
    if (at >= kDebugRegisters && at < kDebugRegisters + 64) return word ? Result<>(Errno::kIO) : Result<>();
    if (at >= sizeof(UserRegisters)) return Errno::kIO;
    UserRegisters registers = get_registers(tracee);
    memcpy(reinterpret_cast<char*>(&registers) + at, &word, sizeof word);  // SAFETY: as above
    return set_registers(tracee, registers);
}

struct RegisterSet {
    size_t size, unit;
};
Result<RegisterSet> register_set(uint64_t type) {
    switch (type) {
        case kNtPrstatus: return RegisterSet{sizeof(UserRegisters), 8};
        case kNtFpregset: return RegisterSet{floating_size(false), 8};
        case kNtXstate:
            if (!platform::boot_info().xcr0) return Errno::kNODEV;
            return RegisterSet{floating_size(true), 8};
        default: return Errno::kINVAL;
    }
}

Result<> read_set(Task& tracee, uint64_t type, Vector<char>& out) {
    TRY(out.resize(TRY(register_set(type)).size));
    if (type == kNtPrstatus) {
        const UserRegisters registers = get_registers(tracee);
        memcpy(out.data(), &registers, sizeof registers);
    } else {
        get_floating(tracee, type == kNtXstate, out.data());
    }
    return {};
}

Result<> get_set(Task& tracer, Task& tracee, uint64_t type, uint64_t address, uint64_t size) {
    Vector<char> bytes;
    TRY(read_set(tracee, type, bytes));
    return mm::copy_to_user(tracer.space(), address, bytes.data(), size < bytes.size() ? size : bytes.size());
}

Result<> put_set(Task& tracer, Task& tracee, uint64_t type, uint64_t address, uint64_t size) {
    Vector<char> bytes;
    TRY(read_set(tracee, type, bytes));
    if (type == kNtXstate && size != bytes.size()) return Errno::kFAULT;
    TRY(mm::copy_from_user(tracer.space(), bytes.data(), address, size < bytes.size() ? size : bytes.size()));
    if (type != kNtPrstatus) return set_floating(tracee, type == kNtXstate, bytes.data());
    UserRegisters registers;
    memcpy(&registers, bytes.data(), sizeof registers);
    return set_registers(tracee, registers);
}

Result<> move_set(Task& tracer, Task& tracee, uint64_t type, uint64_t iovec, bool reads) {
    mm::UserIovec window = TRY(UserIn<mm::UserIovec>{iovec}.load(tracer.space()));
    const RegisterSet set = TRY(register_set(type));
    if (window.length % set.unit) return Errno::kINVAL;
    if (window.length > set.size) window.length = set.size;
    if (reads)
        TRY(get_set(tracer, tracee, type, window.base, window.length));
    else
        TRY(put_set(tracer, tracee, type, window.base, window.length));
    return UserOut<mm::UserIovec>{iovec}.store(tracer.space(), window);
}

struct SyscallInfo {  // struct ptrace_syscall_info
    uint8_t op, pad[3];
    uint32_t arch;
    uint64_t instruction, stack;
    uint64_t words[7];
    uint32_t filter_data, reserved;
};
static_assert(sizeof(SyscallInfo) == 88);

Result<int64_t> get_syscall_info(Task& tracer, Trace& trace, uint64_t size, uint64_t address) {
    const Task& tracee = *trace.tracee;
    const UserRegisters r = get_registers(tracee);
    SyscallInfo info{};
    info.arch = kAuditArchX86;
    info.instruction = r.rip, info.stack = r.rsp;
    size_t actual = offsetof(SyscallInfo, words);
    if (trace.call == Trace::Call::kEntry || trace.call == Trace::Call::kSeccomp) {
        const bool by_filter = trace.call == Trace::Call::kSeccomp;
        info.op = by_filter ? 3 : 1;
        const uint64_t words[] = {r.orig_rax, r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
        memcpy(info.words, words, sizeof words);
        if (by_filter) info.filter_data = static_cast<uint32_t>(trace.message);
        actual = by_filter ? offsetof(SyscallInfo, reserved) : offsetof(SyscallInfo, filter_data);
    } else if (trace.call == Trace::Call::kExit) {
        info.op = 2;
        info.words[0] = r.rax;
        info.words[1] = r.rax >= static_cast<uint64_t>(-4095);
        actual += 9;
    }
    TRY(mm::copy_to_user(tracer.space(), address, &info, size < actual ? size : actual));
    return static_cast<int64_t>(actual);
}

Result<> resume(Trace& trace, TraceResume how, uint64_t signal) {
    if (signal > kSigMax) return Errno::kIO;
    resume_trace(trace, how, static_cast<int32_t>(signal));
    return {};
}

Result<> detach(Trace& trace, uint64_t signal) {
    if (signal > kSigMax) return Errno::kIO;
    trace.resume_signal = static_cast<int32_t>(signal);
    detach_trace(*trace.tracee);
    return {};
}

Result<> listen(Trace& trace) {
    if (!trace.seized || trace.stop_code >> 8 != static_cast<int32_t>(TraceEvent::kStop)) return Errno::kIO;
    trace.listening = true;
    trace.tracee->process().stop_queue.wake_all();
    return {};
}

Result<> interrupt(Trace& trace) {
    if (!trace.seized) return Errno::kIO;
    trace.interrupt = true;
    trace.tracee->trace_work = true;
    interrupt_task(*trace.tracee);
    trace.tracee->process().stop_queue.wake_all();
    return {};
}

template <typename T>
Result<> give(Task& tracer, uint64_t address, const T& value) {
    return UserOut<T>{address}.store(tracer.space(), value);
}

Result<> move_registers(Task& tracer, Task& tracee, int64_t request, uint64_t data) {
    switch (request) {
        case kGetregs: return get_set(tracer, tracee, kNtPrstatus, data, sizeof(UserRegisters));
        case kSetregs: return put_set(tracer, tracee, kNtPrstatus, data, sizeof(UserRegisters));
        case kGetfpregs: return get_set(tracer, tracee, kNtFpregset, data, floating_size(false));
        default: return put_set(tracer, tracee, kNtFpregset, data, floating_size(false));
    }
}

Result<> move_signals(Task& tracer, Trace& trace, int64_t request, uint64_t address, uint64_t data) {
    Task& tracee = *trace.tracee;
    switch (request) {
        case kGetsiginfo:
            if (!trace.has_info) return Errno::kINVAL;
            return copy_siginfo_to_user(tracer.space(), data, trace.info);
        case kSetsiginfo: {
            SigInfo info = TRY(UserIn<SigInfo>{data}.load(tracer.space()));
            if (!trace.has_info) return Errno::kINVAL;
            info.internal = 0;
            trace.info = info;
            return {};
        }
        case kGetsigmask:
            if (address != sizeof(uint64_t)) return Errno::kINVAL;
            return give(tracer, data, tracee.restore_blocked ? tracee.saved_blocked.bits : tracee.blocked.bits);
        default: {
            if (address != sizeof(uint64_t)) return Errno::kINVAL;
            const uint64_t bits = TRY(UserIn<uint64_t>{data}.load(tracer.space()));
            tracee.blocked.bits = bits & ~kUnblockable.bits;
            return {};
        }
    }
}

// Requests to a tracee that is stopped.
Result<int64_t> request_of_stopped(Task& tracer, Trace& trace, int64_t request, uint64_t address, uint64_t data) {
    Task& tracee = *trace.tracee;
    switch (request) {
        case kPeektext:
        case kPeekdata: TRY(give(tracer, data, TRY(peek(tracee, address)))); return 0;
        case kPoketext:
        case kPokedata: TRY(poke(tracee, address, data)); return 0;
        case kPeekuser: TRY(give(tracer, data, TRY(peek_user(tracee, address)))); return 0;
        case kPokeuser: TRY(poke_user(tracee, address, data)); return 0;
        case kGetregs:
        case kSetregs:
        case kGetfpregs:
        case kSetfpregs: TRY(move_registers(tracer, tracee, request, data)); return 0;
        case kGetregset: TRY(move_set(tracer, tracee, address, data, true)); return 0;
        case kSetregset: TRY(move_set(tracer, tracee, address, data, false)); return 0;
        case kGetsiginfo:
        case kSetsiginfo:
        case kGetsigmask:
        case kSetsigmask: TRY(move_signals(tracer, trace, request, address, data)); return 0;
        case kGeteventmsg: TRY(give(tracer, data, trace.message)); return 0;
        case kSetoptions:
            TRY(check_options(data));
            trace.options = static_cast<uint32_t>(data);
            return 0;
        case kGetSyscallInfo: return get_syscall_info(tracer, trace, address, data);
        case kCont: TRY(resume(trace, TraceResume::kContinue, data)); return 0;
        case kSyscall: TRY(resume(trace, TraceResume::kSyscall, data)); return 0;
        case kSinglestep: TRY(resume(trace, TraceResume::kStep, data)); return 0;
        case kDetach: TRY(detach(trace, data)); return 0;
        case kListen: TRY(listen(trace)); return 0;
        default: return Errno::kIO;
    }
}

}  // namespace

Result<int64_t> sys_ptrace(Task& task, TraceRequest request, Pid pid, uint64_t address, uint64_t data) {
    if (request == kTraceme) {
        TRY(traceme(task));
        return 0;
    }
    if (request == kAttach || request == kSeize) {
        TRY(attach(task, pid, request == kSeize, address, data));
        return 0;
    }
    RefPtr<Trace> trace(TRY(tracee_of(task, pid)));
    if (request == kKill) {
        send_signal(*trace->tracee, kernel_signal(kSigKill));
        return 0;
    }
    if (request == kInterrupt) {
        TRY(interrupt(*trace));
        return 0;
    }
    if (!trace->stopped || trace->listening) return Errno::kSRCH;
    const RefPtr<Task> keep(trace->tracee);
    return request_of_stopped(task, *trace, request, address, data);
}

namespace {

constexpr size_t kChunk = 4096;

// The pages of another process, by process_vm_readv(2) and process_vm_writev(2): its own rights count.
Result<int64_t> move_memory(Task& task, int32_t pid, UserIn<mm::UserIovec> local, size_t local_count,
                            UserIn<mm::UserIovec> remote, size_t remote_count, uint64_t flags, bool reads) {
    if (flags) return Errno::kINVAL;
    mm::IoBuffer mine = TRY(mm::IoBuffer::user_vector(task.space(), local.address, local_count));
    if (mine.empty()) return 0;
    if (remote_count > mm::kMaxIovecs) return Errno::kINVAL;
    Vector<mm::UserIovec> theirs;
    TRY(theirs.resize(remote_count));
    TRY(remote.load_array(task.space(), theirs.span()));
    for (const mm::UserIovec& piece : theirs)
        if (static_cast<int64_t>(piece.length) < 0) return Errno::kINVAL;
    Task* target = find_task(pid);
    if (!target || !target->space_) return Errno::kSRCH;
    TRY(may_trace(task, *target, TraceAccess::kReal));
    const RefPtr<mm::AddressSpace> space = target->space_;
    Vector<char> chunk;
    TRY(chunk.resize(kChunk));
    size_t done = 0;
    for (const mm::UserIovec& piece : theirs)
        for (uint64_t at = piece.base, end = piece.base + piece.length; at < end && !mine.empty();) {
            size_t step = kChunk - at % kChunk;
            step = end - at < step ? end - at : step;
            step = mine.remaining() < step ? mine.remaining() : step;
            if (!reads) step = TRY(mine.take(chunk.data(), step));
            const auto moved = reads ? mm::copy_from_user(*space, chunk.data(), at, step)
                                     : mm::copy_to_user(*space, at, chunk.data(), step);
            if (moved.is_error()) return done ? Result<int64_t>(static_cast<int64_t>(done)) : moved.error();
            if (reads) {
                const auto put = mine.put(chunk.data(), step);
                if (put.is_error()) return done ? Result<int64_t>(static_cast<int64_t>(done)) : put.error();
                step = put.value();
            }
            done += step;
            at += step;
        }
    return static_cast<int64_t>(done);
}

// An order of objects that tells nothing about their addresses.
int64_t compare(const void* a, const void* b) {
    const uint64_t x = reinterpret_cast<uint64_t>(a), y = reinterpret_cast<uint64_t>(b);  // SAFETY: as numbers only
    constexpr uint64_t kMix = 0x9e37'79b9'7f4a'7c15;
    if (x == y) return 0;
    return x * kMix < y * kMix ? 1 : 2;
}

}  // namespace

Result<int64_t> sys_process_vm_readv(Task& task, Pid pid, UserIn<mm::UserIovec> local, size_t local_count,
                                     UserIn<mm::UserIovec> remote, size_t remote_count, Flags flags) {
    return move_memory(task, pid, local, local_count, remote, remote_count, flags, true);
}

Result<int64_t> sys_process_vm_writev(Task& task, Pid pid, UserIn<mm::UserIovec> local, size_t local_count,
                                      UserIn<mm::UserIovec> remote, size_t remote_count, Flags flags) {
    return move_memory(task, pid, local, local_count, remote, remote_count, flags, false);
}

Result<int64_t> sys_kcmp(Task& task, Pid first, Pid second, int32_t type, uint64_t index1, uint64_t index2) {
    enum { kFile, kVm, kFiles, kFs, kSighand, kIo, kSysvsem };
    Task *a = find_task(first), *b = find_task(second);
    if (!a || !b) return Errno::kSRCH;
    TRY(may_trace(task, *a, TraceAccess::kReal));
    TRY(may_trace(task, *b, TraceAccess::kReal));
    switch (type) {
        case kFile: {
            if (!a->files_ || !b->files_) return Errno::kBADF;
            const auto x = TRY(a->files().get(static_cast<int>(index1)));
            const auto y = TRY(b->files().get(static_cast<int>(index2)));
            return compare(x.get(), y.get());
        }
        case kVm: return compare(a->space_.get(), b->space_.get());
        case kFiles: return compare(a->files_.get(), b->files_.get());
        case kFs: return compare(a->fs_.get(), b->fs_.get());
        case kSighand: return compare(a->process().actions.get(), b->process().actions.get());
        case kIo:
        case kSysvsem: return 0;  // nobody has one
        default: return Errno::kINVAL;
    }
}

void print_argument(TextSink& sink, Task&, TraceRequest value) {
    struct Name {
        int64_t request;
        std::string_view name;
    };
    static constexpr Name kNames[] = {{kTraceme, "TRACEME"},
                                      {kPeektext, "PEEKTEXT"},
                                      {kPeekdata, "PEEKDATA"},
                                      {kPeekuser, "PEEKUSER"},
                                      {kPoketext, "POKETEXT"},
                                      {kPokedata, "POKEDATA"},
                                      {kPokeuser, "POKEUSER"},
                                      {kCont, "CONT"},
                                      {kKill, "KILL"},
                                      {kSinglestep, "SINGLESTEP"},
                                      {kGetregs, "GETREGS"},
                                      {kSetregs, "SETREGS"},
                                      {kGetfpregs, "GETFPREGS"},
                                      {kSetfpregs, "SETFPREGS"},
                                      {kAttach, "ATTACH"},
                                      {kDetach, "DETACH"},
                                      {kSyscall, "SYSCALL"},
                                      {kSetoptions, "SETOPTIONS"},
                                      {kGeteventmsg, "GETEVENTMSG"},
                                      {kGetsiginfo, "GETSIGINFO"},
                                      {kSetsiginfo, "SETSIGINFO"},
                                      {kGetregset, "GETREGSET"},
                                      {kSetregset, "SETREGSET"},
                                      {kSeize, "SEIZE"},
                                      {kInterrupt, "INTERRUPT"},
                                      {kListen, "LISTEN"},
                                      {kGetsigmask, "GETSIGMASK"},
                                      {kSetsigmask, "SETSIGMASK"},
                                      {kGetSyscallInfo, "GET_SYSCALL_INFO"}};
    for (const Name& known : kNames)
        if (known.request == value) return format_to(sink, "PTRACE_{}", known.name);
    format_to(sink, "{x}", static_cast<uint64_t>(value.value));
}

}  // namespace kvmsbx::syscalls
