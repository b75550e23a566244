#include "guestkernel/lib/random.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/sched/load.hpp"
#include "guestkernel/syscalls/handlers_misc.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {

using auth::Capability;

namespace {

constexpr size_t kNameLimit = 64;
constexpr uint64_t kStateComponents = 20;  // XFEATURE_MAX: none of them has to be asked for
constexpr uint32_t kQueryPersonality = 0xffffffff;
enum ArchOption : int32_t {
    kSetGs = 0x1001,
    kSetFs = 0x1002,
    kGetFs = 0x1003,
    kGetGs = 0x1004,
    kGetCpuid = 0x1011,
    kSetCpuid = 0x1012,
    kGetXcompSupported = 0x1021,
    kGetXcompPermitted = 0x1022,
    kRequestXcomp = 0x1023,
};
enum RandomFlag : uint64_t { kGrndNonblock = 1, kGrndRandom = 2, kGrndInsecure = 4 };

Result<int64_t> set_name(Task& task, UserBuffer name, int32_t length, Result<> (*set)(std::string_view)) {
    if (!task.credentials().has(Capability::kSysAdmin)) return Errno::kPERM;
    if (length < 0 || static_cast<size_t>(length) > kNameLimit) return Errno::kINVAL;
    char bytes[kNameLimit];
    TRY(mm::copy_from_user(task.space(), bytes, name.address, static_cast<size_t>(length)));
    TRY(set({bytes, static_cast<size_t>(length)}));
    return 0;
}

}  // namespace

Result<int64_t> sys_uname(Task& task, UserOut<task::UtsName> out) {
    task::UtsName name = task::uts();
    task::apply_personality(name, task.process().personality);
    TRY(out.store(task.space(), name));
    return 0;
}

Result<int64_t> sys_sethostname(Task& task, UserBuffer name, int32_t length) {
    return set_name(task, name, length, task::set_hostname);
}
Result<int64_t> sys_setdomainname(Task& task, UserBuffer name, int32_t length) {
    return set_name(task, name, length, task::set_domainname);
}

Result<int64_t> sys_sysinfo(Task& task, UserOut<SysInfo> out) {
    const mm::MemoryStatistics memory = mm::memory_statistics();
    SysInfo info{};
    constexpr unsigned kSysInfoShift = 16;  // SI_LOAD_SHIFT
    const sched::LoadAverages load = sched::load_averages();
    for (unsigned i = 0; i < 3; ++i) info.loads[i] = load.fixed[i] << (kSysInfoShift - sched::kLoadShift);
    info.uptime = static_cast<int64_t>(sched::boottime_now() / 1'000'000'000);
    info.total_ram = memory.total;
    info.free_ram = memory.free;
    // Threads, too, are "processes" of sysinfo(2).
    task::for_each_process([&](task::Process& process) {
        info.processes = static_cast<uint16_t>(info.processes + process.threads.size());
    });
    info.unit = 1;
    TRY(out.store(task.space(), info));
    return 0;
}

Result<int64_t> sys_getrandom(Task& task, UserBuffer buffer, size_t size, Flags flags) {
    if (flags & ~static_cast<uint64_t>(kGrndNonblock | kGrndRandom | kGrndInsecure)) return Errno::kINVAL;
    if ((flags & (kGrndRandom | kGrndInsecure)) == (kGrndRandom | kGrndInsecure)) return Errno::kINVAL;
    auto to = TRY(mm::IoBuffer::user(task.space(), buffer.address, size));
    uint8_t bytes[256];
    size_t done = 0;
    while (!to.empty()) {
        // As on Linux a request beyond a page can be interrupted.
        if (done >= mm::kPageSize && task.interrupted()) break;
        const size_t count = to.remaining() < sizeof bytes ? to.remaining() : sizeof bytes;
        random::fill(bytes, count);
        auto put = to.put(bytes, count);
        if (put.is_error()) {
            if (done == 0) return put.error();
            break;
        }
        done += put.value();
        if (put.value() < count) break;
    }
    return static_cast<int64_t>(done);
}

Result<int64_t> sys_syslog(Task&, int32_t, UserBuffer, int32_t) { return Errno::kPERM; }
Result<int64_t> sys_reboot(Task&, uint32_t, uint32_t, uint32_t, uint64_t) { return Errno::kPERM; }
Result<int64_t> sys_swapon(Task&, UserString, int32_t) { return Errno::kPERM; }
Result<int64_t> sys_swapoff(Task&, UserString) { return Errno::kPERM; }

Result<int64_t> sys_personality(Task& task, uint32_t persona) {
    const uint32_t before = task.process().personality;
    if (persona != kQueryPersonality) task.process().personality = persona;
    return before;
}

Result<int64_t> sys_arch_prctl(Task& task, int32_t option, uint64_t address) {
    switch (option) {
        case kSetFs:
        case kSetGs:
            if (address >= platform::user_end) return Errno::kPERM;
            option == kSetFs ? platform::write_fs_base(address) : platform::write_gs_base(address);
            return 0;
        case kGetFs: TRY(UserOut<uint64_t>{address}.store(task.space(), platform::read_fs_base())); return 0;
        case kGetGs: TRY(UserOut<uint64_t>{address}.store(task.space(), platform::read_gs_base())); return 0;
        case kGetCpuid: return 1;
        case kSetCpuid: return Errno::kNODEV;  // CPUID cannot be made to fault
        case kGetXcompSupported:
        case kGetXcompPermitted:
            TRY(UserOut<uint64_t>{address}.store(task.space(), platform::boot_info().xcr0));
            return 0;
        case kRequestXcomp: return address < kStateComponents ? Errno::kOPNOTSUPP : Errno::kINVAL;
        default: return Errno::kINVAL;
    }
}

Result<int64_t> sys_set_tid_address(Task& task, uint64_t address) {
    task.clear_child_tid = address;
    return task.tid;
}

}  // namespace kvmsbx::syscalls
