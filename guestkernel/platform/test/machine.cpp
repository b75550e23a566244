#include "guestkernel/platform/test/machine.hpp"

#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/call_post.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/hypercall.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/sched/clock.hpp"
#include "guestkernel/sched/cpu.hpp"
#include "guestkernel/sched/kernel_lock.hpp"

// What a thread's stack held when its test ended is lost with the machine: no leak, but LeakSanitizer cannot know these
// stacks.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace kvmsbx {

void panic(const char* message) {
    fprintf(stderr, "panic: %s\n", message);
    abort();
}

bool debug_enabled() { return false; }
void log_line(std::string_view) {}

namespace platform {
namespace {

char* ram;
uint64_t ram_size;
abi::BootInfo info;
CpuArea area;
StackHeader main_header{nullptr, &area, kStackCanary};
bool finished;
jmp_buf leave_idle;

uint64_t clock_ns(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

int64_t answer_time(Phys to) {
    const abi::HostTime time{clock_ns(CLOCK_REALTIME), clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_BOOTTIME)};
    memcpy(phys_to_virt(to), &time, sizeof time);
    return 0;
}

}  // namespace

StackHeader& stack_header() {
    // SAFETY: Sentry stacks lie in RAM, aligned to their size; any other stack is the test's own.
    char* here = static_cast<char*>(__builtin_frame_address(0));
    if (here < ram || here >= ram + ram_size) return main_header;
    return *reinterpret_cast<StackHeader*>(reinterpret_cast<uint64_t>(here) & ~(kStackSize - 1));
}

// A thread that ended never returned from its functions, so AddressSanitizer still has their red zones.
void prepare_stack([[maybe_unused]] void* stack) {
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(stack, kStackSize);
#endif
}

size_t return_addresses(const void*, std::span<uint64_t>) { return 0; }  // the host's debugger has them

void* phys_to_virt(Phys phys) { return ram + (phys - abi::kRamGpa); }
Phys virt_to_phys(const void* address) {
    return static_cast<uint64_t>(static_cast<const char*>(address) - ram) + abi::kRamGpa;
}
const uint64_t user_end = abi::kUserEnd;
const abi::BootInfo& boot_info() { return info; }

int64_t hypercall(abi::HypercallNumber number, uint64_t a0, uint64_t a1, uint64_t a2) {
    const uint64_t arguments[] = {a0, a1, a2};
    switch (number) {
        case abi::HypercallNumber::kGetTime: return answer_time(a0);
        case abi::HypercallNumber::kReleaseMemory: return madvise(phys_to_virt(a0), a1, MADV_DONTNEED);
        case abi::HypercallNumber::kDebugLevel: return 0;
        default: return test::Machine::on_hypercall ? test::Machine::on_hypercall(number, arguments) : -38;
    }
}

uint64_t read_tsc() { return clock_ns(CLOCK_MONOTONIC); }
void yield() {}
void set_timer(uint64_t) {}
void kick(const CpuArea&) {}
void end_of_interrupt() {}
uint64_t wait_for_interrupts() {
    if (test::Machine::on_idle && test::Machine::on_idle()) return 1ULL << (abi::kVectorGofer - abi::kVectorFirst);
    if (finished) longjmp(leave_idle, 1);
    usleep(200);
    return 1;
}
void resume_user() { panic("no ring 3 on this machine"); }
void panic_with_fault(const abi::SentryFault&, CpuArea&) { panic("a fault entry on a machine that has none"); }
CallPost* call_post(Cpu&) { return nullptr; }
bool interrupt_waits() { return false; }
void drop_user_space() {}
void ring_gofer() {
    if (test::Machine::on_ring_gofer) test::Machine::on_ring_gofer();
}
void save_fpu(void*) {}
void restore_fpu(const void*) {}
void init_fpu_area(void* to) { memset(to, 0, info.fpu_area_size); }
uint64_t read_fs_base() { return 0; }
uint64_t read_gs_base() { return 0; }
void write_fs_base(uint64_t) {}
void write_gs_base(uint64_t) {}

namespace test {

std::function<int64_t(abi::HypercallNumber, const uint64_t*)> Machine::on_hypercall;
std::function<void()> Machine::on_ring_gofer;
std::function<bool()> Machine::on_idle;

namespace {

class TestThread final : public sched::Thread {
  public:
    explicit TestThread(std::function<void()> body) : body_(std::move(body)) {}
    void run() override {
        body_();
        body_ = nullptr;
        finished = true;
        sched::exit_thread();
    }

  private:
    std::function<void()> body_;
};

}  // namespace

// The Sentry's globals live as long as the process: one machine's RAM is made once and kept.
Machine::Machine(uint64_t size) {
    if (ram) return;
    ram_size = size;
    // SAFETY: stacks want natural alignment, so the region is aligned to a huge page.
    const uint64_t raw = reinterpret_cast<uint64_t>(mmap(nullptr, size + kHugePageSize, PROT_READ | PROT_WRITE,
                                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    ram = reinterpret_cast<char*>((raw + kHugePageSize - 1) & ~(kHugePageSize - 1));
    info.magic = abi::kBootInfoMagic;
    info.cpu_count = 1;
    info.ram_gpa = abi::kRamGpa;
    info.ram_size = size;
    info.user_pml4_template = abi::kRamGpa;
    info.tsc_khz = 1'000'000;
    info.lapic_timer_hz = 1'000'000'000;
    info.fpu_area_size = 1024;
    mm::init_frames(abi::kRamGpa, size, abi::kRamGpa + kPageSize + kStackSize, size);
    main_header.cpu = &area;
    sched::init_clock();
}
Machine::~Machine() {
    on_hypercall = nullptr;
    on_ring_gofer = nullptr;
    on_idle = nullptr;
}

void Machine::run(std::function<void()> body) {
    finished = false;
    sched::lock_kernel();
    if (setjmp(leave_idle) == 0) {
        // The idle loop needs a stack header of its own: the test's stack has main_header.
        sched::prepare_idle(area, main_header);
        auto thread = make_ref<TestThread>(std::move(body));
        VERIFY(thread.value()->create_stack().is_ok());
        sched::start(*thread.value());
        sched::run_idle(area);
    }
}

}  // namespace test
}  // namespace platform
}  // namespace kvmsbx
