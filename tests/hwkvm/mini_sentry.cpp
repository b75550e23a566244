// A Sentry that only checks the entry code's contract (common/abi/cpu_area.hpp), in whichever privilege mode it is
// started. The app spec is a word that picks the scenario. Freestanding, linked at kSentryBase, no privileged
// instruction.
#include "common/abi/mailbox.hpp"
#include "common/control/messages.hpp"
#include "tests/hwkvm/mini_runtime.hpp"

#include <cstring>
#include <initializer_list>

#define LABEL(name) extern "C" const char name[]
LABEL(app_registers);
LABEL(app_flags);
LABEL(app_loop);
LABEL(app_single_step);
LABEL(app_read);
LABEL(app_write);
LABEL(app_jump);
LABEL(app_int3);
LABEL(app_int4);
LABEL(app_int80);
LABEL(app_int40);
LABEL(app_cli);
LABEL(app_sti);
LABEL(app_hlt);
LABEL(app_in);
LABEL(app_out);
LABEL(app_mov_cr3);
LABEL(app_read_cr0);
LABEL(app_wrmsr);
LABEL(app_lgdt);
LABEL(app_divide);
LABEL(app_ud2);
LABEL(app_far_jump);
LABEL(app_kernel_return);
LABEL(app_iopl);
LABEL(app_spin);
LABEL(app_set_xmm);
LABEL(app_rdtscp);
LABEL(app_wrpkru);
LABEL(app_fsbase);

namespace mini {
namespace {

constexpr uint64_t kTimerBit = 1, kIpiBit = 2, kGoferBit = 4, kHostEventBit = 8;
bool emulated;  // the host itself is emulated by TCG, with its own quirks
constexpr uint64_t kPageFault = 14, kProtection = 13, kInvalid = 6;

void fill(UserRegs& r) {
    uint64_t* words = &r.r15;
    for (uint64_t i = 0; i < 15; i++) words[i] = 0x1111000000000001ULL * (i + 1);
}

void check_pattern(const UserRegs& r, bool rcx_and_r11) {
    const uint64_t* words = &r.r15;
    for (uint64_t i = 0; i < 15; i++) {
        bool clobbered = &words[i] == &r.rcx || &words[i] == &r.r11;
        if (!clobbered || rcx_and_r11) CHECK_EQUAL(words[i], 0x1111000000000001ULL * (i + 1));
    }
}

void test_registers(Application& app) {
    fill(app.regs);
    CHECK_EQUAL(app.start(app_registers), kTrapSyscall);
    check_pattern(app.regs, false);
    CHECK_EQUAL(app.regs.rip, address_of(app_registers) + 2);
    CHECK_EQUAL(app.regs.rcx, app.regs.rip);
    CHECK_EQUAL(app.regs.r11, app.regs.rflags);
    CHECK_EQUAL(app.regs.rflags & 0x200, 0x200u);
    CHECK_EQUAL(app.regs.rsp, kApplicationStack + 4096);
    CHECK_EQUAL(app.regs.cs, kUserCs);
    CHECK_EQUAL(app.regs.ss, kUserSs);
    fill(app.regs);
    CHECK_EQUAL(app.resume(kTrapSyscall), kTrapSyscall);
    check_pattern(app.regs, false);
    CHECK_EQUAL(app.regs.rip, address_of(app_registers) + 4);
    fill(app.regs);
    CHECK_EQUAL(app.resume(kTrapNone), kInvalid);
    check_pattern(app.regs, true);
    CHECK_EQUAL(app.regs.rip, address_of(app_registers) + 4);
}

void test_flags(Application& app) {
    CHECK_EQUAL(app.start(app_flags), kTrapSyscall);
    uint64_t flags = emulated && boot->privilege == PrivilegeMode::kRing3
                         ? 0
                         : 0x401;  // TCG's SYSCALL clears CF and DF whatever SFMASK says
    CHECK_EQUAL(app.regs.rflags & 0x401, flags);
    CHECK_EQUAL(app.resume(kTrapSyscall), kInvalid);
    CHECK_EQUAL(app.regs.rflags & 0x401, flags & 1);
    CHECK_EQUAL(app.regs.rcx, app.regs.rip - 1);  // SYSRET: rcx = where it returned to; cld was 1 byte
    CHECK_EQUAL(app.regs.r11 & 0x401, flags);     // and r11 = flags
    CHECK_EQUAL(app.start(app_iopl), kTrapSyscall);
    CHECK_EQUAL(app.regs.rax & 0x3200, 0x200u);
    app.regs.rflags |= 0x23000;  // IOPL and VM given by the Sentry itself do not reach the application
    app.regs.rflags &= ~0x200ULL;
    CHECK_EQUAL(app.resume(kTrapNone), kInvalid);
    CHECK_EQUAL(app.regs.rflags & 0x23200, 0x200u);
}

void test_single_step(Application& app) {
    uint64_t trap = app.start(app_single_step);
    CHECK_EQUAL(trap, 1u);  // after popf's next instruction
    unsigned system_calls = 0, steps = 1;
    for (int i = 0; i < 10 && (trap == 1 || trap == kTrapSyscall); i++) {
        trap = app.resume(trap == 1 ? kTrapNone : kTrapSyscall);
        system_calls += trap == kTrapSyscall;
        steps += trap == 1;
    }
    CHECK_EQUAL(trap, kInvalid);
    CHECK_EQUAL(system_calls, 1u);
    check(steps >= 2, "single steps", steps, 2, __LINE__);
}

void test_page_faults(Application& app) {
    fill(app.regs);
    app.regs.rdi = 0xdead008;
    CHECK_EQUAL(app.start(app_read), kPageFault);
    CHECK_EQUAL(app.regs.cr2, 0xdead008u);
    CHECK_EQUAL(app.regs.error_code, 4u);
    app.regs.rdi = 0x1111000000000001ULL * 15;
    check_pattern(app.regs, true);
    app.regs.rdi = kApplicationCode;
    CHECK_EQUAL(app.start(app_write), kPageFault);
    CHECK_EQUAL(app.regs.error_code, 7u);
    app.regs.rdi = 0xdead008;
    CHECK_EQUAL(app.start(app_write), kPageFault);
    CHECK_EQUAL(app.regs.error_code, 6u);
    app.map(0xdead000, allocate_page(), 2);
    CHECK_EQUAL(app.resume(kTrapNone), kInvalid);
    app.regs.rdi = kApplicationData;
    CHECK_EQUAL(app.start(app_jump), kPageFault);
    CHECK_EQUAL(app.regs.error_code, 0x15u);
    CHECK_EQUAL(app.regs.rip, kApplicationData);
}

void test_sentry_is_out_of_reach(Application& app) {
    const uint64_t secrets[] = {
        kSentryBase,        kDirectMap + kRamGpa, kDirectMap + kDeviceGpa, kDirectMap + kLapicGpa,
        kGateBase,          kGateBase + 0x1000,   kGateBase + 0x2000,      kGateBase + 0x3000,
        kGateBase + 0x5000, kGateBase + 0x6000,   kGateBase + 0x7000};
    for (uint64_t secret : secrets) {
        app.regs.rdi = secret;
        CHECK_EQUAL(app.start(app_read), kPageFault);
        CHECK_EQUAL(app.regs.cr2, secret);
        app.regs.rdi = secret;
        CHECK_EQUAL(app.start(app_write), kPageFault);
        app.regs.rdi = secret;
        CHECK_EQUAL(app.start(app_jump), kPageFault);
    }
    app.regs.rdi = kSyscallStub;
    CHECK_EQUAL(app.start(app_write), kPageFault);
}

void test_exceptions(Application& app) {
    const struct {
        const char* entry;
        uint64_t trap;
        uint64_t rip_offset;
    } cases[] = {{app_int3, 3, 1},
                 {app_int4, 4, 2},
                 {app_cli, kProtection, 0},
                 {app_sti, kProtection, 0},
                 {app_hlt, kProtection, 0},
                 {app_in, kProtection, 5},
                 {app_out, kProtection, 5},
                 {app_mov_cr3, kProtection, 0},
                 {app_read_cr0, kProtection, 0},
                 {app_wrmsr, kProtection, 5},
                 {app_lgdt, kProtection, 0},
                 {app_divide, 0, 4},
                 {app_ud2, kInvalid, 0}};
    for (const auto& one : cases) {
        log_number("  exception", one.entry - app_registers);
        CHECK_EQUAL(app.start(one.entry), one.trap);
        CHECK_EQUAL(app.regs.rip, address_of(one.entry) + one.rip_offset);
        CHECK_EQUAL(app.regs.cs, kUserCs);
    }
    uint64_t trap;
    for (const char* entry : {app_int80, app_int40}) {
        trap = app.start(entry);
        CHECK_EQUAL(trap == kProtection || trap == kInvalid, true);  // PVM gives #UD
        CHECK_EQUAL(app.regs.rip, address_of(entry));
    }
    for (const char* entry : {app_far_jump, app_kernel_return}) {
        trap = app.start(entry);
        CHECK_EQUAL(trap == kProtection || trap == kPageFault,
                    true);  // TCG reads the stack as the kernel, against SMAP: #PF
        CHECK_EQUAL(app.regs.rip >= kApplicationCode && app.regs.rip < kApplicationCode + 4096, true);
    }
}

void test_stub(Application& app) {
    if (boot->privilege != PrivilegeMode::kRing3) return;
    app.regs.rdi = kSyscallStub;  // a jump there is a system call that returns to rcx
    app.regs.rcx = address_of(app_ud2);
    CHECK_EQUAL(app.start(app_jump), kTrapSyscall);
    CHECK_EQUAL(app.regs.rip, address_of(app_ud2));
    CHECK_EQUAL(app.resume(kTrapSyscall), kInvalid);
    CHECK_EQUAL(app.regs.rip, address_of(app_ud2));
    app.regs.rdi = kSyscallStub + kStubGate + kStubTrapLength;
    CHECK_EQUAL(app.start(app_jump), 3u);
    const uint64_t bad_addresses[] = {0x0000'8000'0000'0000, uint64_t{kSentryBase}, uint64_t{0x8000'0000'0000'0000}};
    for (uint64_t bad : bad_addresses) {
        app.regs.rdi = kSyscallStub;
        app.regs.rcx = bad;
        CHECK_EQUAL(app.start(app_jump), kTrapSyscall);
        CHECK_EQUAL(app.resume(kTrapSyscall), kProtection);
        CHECK_EQUAL(app.regs.rip, bad);
        app.regs.rip = bad;
        CHECK_EQUAL(app.resume(kTrapNone), kProtection);
    }
}

void test_timer(Application& app) {
    for (int i = 0; i < 3; i++) {
        app.regs.rbx = 0;
        for (uint32_t ns = 2'000'000; app.regs.rbx == 0 && ns < 500'000'000;
             ns *= 4) {  // on a busy host the timer may be first
            arm_timer(ns);
            CHECK_EQUAL(app.start(app_spin), kVectorTimer);
            end_of_interrupt();
        }
        check(app.regs.rbx != 0, "the application ran", app.regs.rbx, 1, __LINE__);
        arm_timer(2'000'000);
        CHECK_EQUAL(wait(kTimerBit), kTimerBit);
    }
}

volatile unsigned second_cpu_step;

void test_ipi(Application& app) {
    if (boot->cpu_count < 2) return;
    while (second_cpu_step != 1) {}
    send_ipi(1, kVectorIpi);  // it waits; it answers with an IPI, and then spins in an application
    CHECK_EQUAL(wait(kIpiBit), kIpiBit);
    while (second_cpu_step != 2) {}
    arm_timer(5'000'000);
    wait(kTimerBit);
    send_ipi(1, kVectorIpi);
    CHECK_EQUAL(app.start(app_spin), kVectorIpi);
    end_of_interrupt();
    CHECK_EQUAL(second_cpu_step, 3u);
}

[[noreturn]] void second_cpu(unsigned cpu) {
    static Application app = make_application();
    second_cpu_step = 1;
    wait(kIpiBit);
    second_cpu_step = 2;
    send_ipi(0, kVectorIpi);
    app.start(app_spin);
    end_of_interrupt();
    second_cpu_step = app.regs.trap == kVectorIpi ? 3 : 4;
    send_ipi(0, kVectorIpi);
    for (;;) reinterpret_cast<void (*)()>(area(cpu).wait_for_interrupt)();
}

void test_fpu(Application& app) {
    auto* first = direct<char>(allocate_page() & ~4095ULL);
    check(boot->fpu_area_size >= 512 && boot->fpu_area_size <= 4096, "FPU area fits a page", boot->fpu_area_size, 4096,
          __LINE__);
    CpuArea& here = area(this_cpu());
    auto save = reinterpret_cast<void (*)(void*)>(here.fpu_save);
    auto restore = reinterpret_cast<void (*)(const void*)>(here.fpu_restore);
    app.regs.rdi = 0x1234567890abcdef;
    CHECK_EQUAL(app.start(app_set_xmm), kTrapSyscall);
    save(first);
    UserRegs kept = app.regs;
    app.regs.rdi = 0;
    CHECK_EQUAL(app.start(app_set_xmm), kTrapSyscall);
    restore(first);
    app.regs = kept;
    CHECK_EQUAL(app.resume(kTrapSyscall), kTrapSyscall);
    CHECK_EQUAL(app.regs.rax, 0x1234567890abcdefu);
    CHECK_EQUAL(app.regs.rbx, 0x1234567890abcdefu);
}

void test_cpu_state(Application& app) {
    CHECK_EQUAL(app.start(app_rdtscp), kTrapSyscall);
    log_number("TSC_AUX in ring 3:", app.regs.rbx);
    uint64_t trap = app.start(app_wrpkru);
    if (trap == kTrapSyscall) trap = app.resume(kTrapSyscall);
    log_number("WRPKRU ends in trap", trap);
    if (!(boot->hwcap2 & 2)) return;
    app.regs.rdi = 0x7654321000;
    CHECK_EQUAL(app.start(app_fsbase), kTrapSyscall);
    CHECK_EQUAL(app.regs.rax, 0x7654321000u);
    uint64_t base;
    asm volatile("rdfsbase %0" : "=r"(base));
    CHECK_EQUAL(base, 0x7654321000u);
}

void test_hypercalls() {
    uint64_t page = allocate_page();
    auto* bytes = direct<char>(page);
    bytes[0] = 1;
    CHECK_EQUAL(hypercall(HypercallNumber::kReleaseMemory, page, 4096), 0);
    CHECK_EQUAL(*const_cast<volatile char*>(bytes), 0);
    CHECK_EQUAL(hypercall(HypercallNumber::kReleaseMemory, page + 1, 4096), -22);
    CHECK_EQUAL(hypercall(HypercallNumber::kReleaseMemory, ~0xfffULL, 4096), -22);
    CHECK_EQUAL(hypercall(HypercallNumber::kGetTime, page), 0);
    auto* time = direct<HostTime>(page);
    check(time->realtime_ns > 1'600'000'000'000'000'000 && time->monotonic_ns != 0, "host time", time->realtime_ns, 0,
          __LINE__);
    CHECK_EQUAL(hypercall(HypercallNumber::kGetTime, 0x1000), -14);
    CHECK_EQUAL(hypercall(HypercallNumber::kLog, ~0ULL, 100), -14);
    CHECK_EQUAL(hypercall(HypercallNumber::kLog, kRamGpa + boot->ram_size - 8, 9), -14);
    CHECK_EQUAL(hypercall(HypercallNumber{77}), -38);
    CHECK_EQUAL(hypercall(HypercallNumber::kBackMemory, boot->ram_size + 1), -12);
    CHECK_EQUAL(hypercall(HypercallNumber::kBackMemory, 1), boot->ram_backed);
    CHECK_EQUAL(hypercall(HypercallNumber::kBackMemory, boot->ram_size), boot->ram_size);
    *direct<volatile uint64_t>(boot->ram_gpa + boot->ram_size - 8) = 5;
    CHECK_EQUAL(*direct<volatile uint64_t>(boot->ram_gpa + boot->ram_size - 8), 5u);
    CHECK_EQUAL(hypercall(HypercallNumber::kNextHostEvent, page), 0);
    memcpy(bytes, "console\n", 8);
    CHECK_EQUAL(hypercall(HypercallNumber::kConsoleWrite, page, 8, 1), 8);
    CHECK_EQUAL(hypercall(HypercallNumber::kConsoleWrite, page, 8, 3), -9);
    CHECK_EQUAL(hypercall(HypercallNumber::kConsoleWrite, page, 8, 1ULL << 32 | 1), -9);
    CHECK_EQUAL(hypercall(HypercallNumber::kConsoleClose, 3), -9);
}

// stdin is a pipe to which the harness writes "in" when it reads that we wait.
void test_console_read() {
    uint64_t page = allocate_page();
    CHECK_EQUAL(hypercall(HypercallNumber::kConsoleRead, page, 100, 0), -11);
    log("waiting for input");
    CHECK_EQUAL(wait(kHostEventBit), kHostEventBit);
    CHECK_EQUAL(hypercall(HypercallNumber::kNextHostEvent, page), 1);
    CHECK_EQUAL(direct<HostEvent>(page)->type, HostEventType::kConsole);
    CHECK_EQUAL(direct<HostEvent>(page)->arg, 0u);
    CHECK_EQUAL(hypercall(HypercallNumber::kConsoleRead, page, 100, 0), 2);
    CHECK_EQUAL(direct<char>(page)[0], 'i');
    int64_t end = -11;
    for (int i = 0; i < 3 && end == -11; i++) {
        end = hypercall(HypercallNumber::kConsoleRead, page, 100, 0);
        if (end == -11) wait(kHostEventBit);
    }
    CHECK_EQUAL(end, 0);
}

void time_system_calls(Application& app) {
    constexpr uint64_t kCalls = 2000;
    app.regs.rbx = kCalls;
    uint64_t start = __builtin_ia32_rdtsc();
    uint64_t trap = app.start(app_loop);
    for (; trap == kTrapSyscall; trap = app.resume(kTrapSyscall)) {}
    uint64_t cycles = (__builtin_ia32_rdtsc() - start) / kCalls;
    CHECK_EQUAL(trap, kInvalid);
    log_number("ns per null system call:", cycles * 1'000'000 / boot->tsc_khz);
}

[[noreturn]] void on_fault(SentryFault* fault, CpuArea*) {
    check(fault->vector == kPageFault, "vector", fault->vector, kPageFault, __LINE__);
    CHECK_EQUAL(fault->cr2, 0x18u);
    CHECK_EQUAL(fault->rdi, 0x18u);
    CHECK_EQUAL(fault->r15, 0x1234u);
    finish();
}

[[noreturn]] void on_fault_again(SentryFault* fault, CpuArea*) {
    asm volatile("mov %%rax, (%%rdi)" ::"D"(fault->vector));
    finish();
}

[[noreturn]] void provoke_fault() {
    asm volatile("mov $0x1234, %%r15d\n mov %%rax, (%%rdi)" ::"D"(0x18ULL));
    panic("the fault did not happen");
}

void run_all() {
    Application app = make_application();
    const struct {
        const char* name;
        void (*test)(Application&);
    } tests[] = {{"registers", test_registers},
                 {"flags", test_flags},
                 {"page faults", test_page_faults},
                 {"out of reach", test_sentry_is_out_of_reach},
                 {"exceptions", test_exceptions},
                 {"stub", test_stub},
                 {"single step", test_single_step},
                 {"timer", test_timer},
                 {"ipi", test_ipi},
                 {"fpu", test_fpu},
                 {"cpu state", test_cpu_state},
                 {"time", time_system_calls}};
    for (const auto& one : tests) {
        log(one.name);
        one.test(app);
    }
    log("hypercalls");
    test_hypercalls();
    test_console_read();
    reinterpret_cast<void (*)()>(area(0).drop_user_space)();
    finish();
}

void write_at(uint64_t gpa) { *reinterpret_cast<volatile uint32_t*>(kDirectMap + gpa) = 0; }

// The monitor sends a request: an event says so, and the frame comes as it was sent. An answer goes out.
void take_request() {
    const uint64_t page = allocate_page();
    CHECK_EQUAL(hypercall(HypercallNumber::kControlWrite, page, 0), 0);
    while (hypercall(HypercallNumber::kNextHostEvent, page) == 0) wait(kHostEventBit);
    CHECK_EQUAL(direct<HostEvent>(page)->type, HostEventType::kControl);
    const int64_t size = hypercall(HypercallNumber::kControlRead, page, 4096);
    const auto* frame = direct<uint8_t>(page);
    const auto header = kvmsbx::control::decode_header({frame, static_cast<size_t>(size)});
    CHECK_EQUAL(header.is_ok() && header.value().size == size, true);
    CHECK_EQUAL(header.value().type, kvmsbx::control::Signal::kType);
    CHECK_EQUAL(header.value().id, 77u);
    CHECK_EQUAL(hypercall(HypercallNumber::kControlRead, page, 4096), -11);
    CHECK_EQUAL(hypercall(HypercallNumber::kControlWrite, 0x1000, 8), -14);
    CHECK_EQUAL(hypercall(HypercallNumber::kControlWrite, page, size), size);
    finish();
}

[[noreturn]] void run_scenario(const char* name) {
    emulated = name[1] == '+';
    switch (name[0]) {
        case 'a': run_all(); break;
        case 'f': area(0).fault_entry = reinterpret_cast<uint64_t>(on_fault); provoke_fault();
        case 'g': area(0).fault_entry = reinterpret_cast<uint64_t>(on_fault_again); provoke_fault();
        case 'e': provoke_fault();  // before fault_entry is set
        case 'p': panic("as asked");
        case 'm': write_at(kDeviceGpa + 0x800); break;             // nothing there
        case 'n': write_at(kDeviceGpa + kHypercallOffset); break;  // the call before is answered
        case 's': {
            Application app = make_application();
            app.regs.rbx = 1000 * (name[1] - '0');
            for (uint64_t trap = app.start(app_loop); trap == kTrapSyscall; trap = app.resume(kTrapSyscall)) {}
            hypercall(HypercallNumber::kExit, 0);
            break;
        }
        case 'x': hypercall(HypercallNumber::kExit, 7); break;
        case 'c': take_request(); break;
        case 'k':
            memset(reinterpret_cast<void*>(kGateBase + 0x2000), 0, 4096);
            write_at(0);
            break;  // no GDT, no TSS: nothing can be delivered any more
        case 'w':
            for (;;) wait(0xf0);  // until the host ends it
        default: panic("no such scenario");
    }
    for (;;) {}
}

}  // namespace
}  // namespace mini

extern "C" [[noreturn]] void sentry_start(const kvmsbx::abi::BootInfo* info, kvmsbx::abi::CpuArea* area) {
    using namespace mini;
    boot = info;
    if (area->cpu_id != 0) {
        while (second_cpu_step == 0 && area->cpu_id == 1 && *direct<char>(info->app_spec_gpa) == 'a')
            second_cpu(area->cpu_id);
        for (;;) reinterpret_cast<void (*)()>(area->wait_for_interrupt)();
    }
    if (info->magic != kBootInfoMagic || info->version != kBootInfoVersion || info->size != sizeof(BootInfo))
        panic("boot info");
    run_scenario(direct<char>(info->app_spec_gpa));
}
