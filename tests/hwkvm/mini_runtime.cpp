#include "tests/hwkvm/mini_runtime.hpp"

#include <cstddef>

extern "C" {
extern const char application_start[], application_end[];
uint64_t run_until_trap(kvmsbx::abi::CpuArea* area, uint64_t* stack_slot);
[[noreturn]] void back_from_trap(kvmsbx::abi::UserRegs*, kvmsbx::abi::CpuArea* area);
void* memset(void* to, int value, size_t size) {
    for (size_t i = 0; i < size; i++) static_cast<char*>(to)[i] = value;
    return to;
}
void* memcpy(void* to, const void* from, size_t size) {
    for (size_t i = 0; i < size; i++) static_cast<char*>(to)[i] = static_cast<const char*>(from)[i];
    return to;
}
uint64_t saved_stacks[kvmsbx::abi::kMaxCpus];
}

// run_until_trap parks the callee-saved registers and the stack pointer; back_from_trap (trap_entry) takes them up
// again.
asm(R"(
    .text
    .globl run_until_trap, back_from_trap
run_until_trap:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rsi)
    jmp *8(%rdi)
back_from_trap:
    movl (%rsi), %eax
    lea saved_stacks(%rip), %rcx
    mov (%rcx,%rax,8), %rsp
    mov 0x78(%rdi), %rax
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
)");
static_assert(offsetof(kvmsbx::abi::CpuArea, resume_user) == 8 && offsetof(kvmsbx::abi::UserRegs, trap) == 0x78);

namespace mini {
namespace {

uint64_t next_page;
uint64_t failures, checks;
constexpr uint64_t kAddressMask = 0x000f'ffff'ffff'f000;

size_t length(const char* text) {
    size_t n = 0;
    while (text[n]) n++;
    return n;
}

// The Sentry's page table knows where its image lies.
uint64_t walk(uint64_t address) {
    uint64_t table = boot->sentry_pml4;
    for (int shift = 39; shift > 12; shift -= 9) table = direct<uint64_t>(table)[address >> shift & 511] & kAddressMask;
    return (direct<uint64_t>(table)[address >> 12 & 511] & kAddressMask) | (address & 4095);
}

void doorbell(uint64_t offset) { *reinterpret_cast<volatile uint32_t*>(kDirectMap + kDeviceGpa + offset) = 1; }

}  // namespace

const BootInfo* boot;

CpuArea& area(unsigned cpu) { return *reinterpret_cast<CpuArea*>(boot->cpu_areas[cpu]); }

unsigned this_cpu() { return lapic_read(0x20) >> 24; }

int64_t hypercall(HypercallNumber number, uint64_t a, uint64_t b, uint64_t c) {
    HypercallBlock& block = area(this_cpu()).hypercall;
    block.number = static_cast<uint64_t>(number);
    block.args[0] = a, block.args[1] = b, block.args[2] = c;
    asm volatile("" ::: "memory");
    doorbell(kHypercallOffset);
    asm volatile("" ::: "memory");
    return *const_cast<volatile int64_t*>(&block.result);
}

uint64_t gpa(const void* pointer) {
    auto address = reinterpret_cast<uint64_t>(pointer);
    return address >= kSentryBase ? walk(address) : address - kDirectMap;
}

uint64_t allocate_page() {
    if (next_page == 0) next_page = (boot->ram_first_free + 4095) & ~4095ULL;
    uint64_t page = next_page;
    next_page += 4096;
    memset(direct<char>(page), 0, 4096);
    return page;
}

void log(const char* text) {
    static char* buffer = direct<char>(allocate_page());  // strings may cross pages of the image
    size_t n = length(text);
    memcpy(buffer, text, n);
    buffer[n] = '\n';
    hypercall(HypercallNumber::kLog, gpa(buffer), n + 1);
}

void log_number(const char* text, uint64_t value) {
    char line[200];
    size_t n = length(text);
    memcpy(line, text, n);
    line[n++] = ' ', line[n++] = '0', line[n++] = 'x';
    for (int shift = 60; shift >= 0; shift -= 4) line[n++] = "0123456789abcdef"[value >> shift & 15];
    line[n] = 0;
    log(line);
}

bool check(bool good, const char* what, uint64_t got, uint64_t wanted, int line) {
    checks++;
    if (good) return true;
    failures++;
    log(what);
    log_number("  FAILED: line", line);
    log_number("  got", got);
    log_number("  wanted", wanted);
    return false;
}

void finish() {
    log_number(failures ? "checks FAILED:" : "all checks hold:", failures ? failures : checks);
    hypercall(HypercallNumber::kExit, failures ? 1 : 0);
    for (;;) {}
}

void panic(const char* message) {
    auto* info = direct<PanicInfo>(allocate_page());
    memcpy(info->message, message, length(message));
    info->backtrace[0] = reinterpret_cast<uint64_t>(__builtin_return_address(0));
    hypercall(HypercallNumber::kPanic, gpa(info));
    for (;;) {}
}

uint64_t address_of(const char* label) { return kApplicationCode + (label - application_start); }

void Application::map(uint64_t address, uint64_t page, uint64_t flags) {
    uint64_t table = cr3;
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t& entry = direct<uint64_t>(table)[address >> shift & 511];
        if (!(entry & 1)) entry = allocate_page() | 7;
        table = entry & kAddressMask;
    }
    direct<uint64_t>(table)[address >> 12 & 511] = page | flags | 5;
}

uint64_t Application::start(const char* entry) {
    regs.rip = address_of(entry);
    regs.rsp = kApplicationStack + 4096;
    regs.rflags = 0x202;
    return resume(kTrapNone);
}

uint64_t Application::resume(uint64_t how) {
    if (cpu == ~0u) cpu = this_cpu();  // reading the LAPIC is dear
    CpuArea& here = area(cpu);
    regs.trap = how;
    here.user_regs = reinterpret_cast<uint64_t>(&regs);
    here.user_cr3 = cr3;
    here.trap_entry = reinterpret_cast<uint64_t>(back_from_trap);
    here.kernel_stack = here.entry_stack - 16384;
    uint64_t trap = run_until_trap(&here, &saved_stacks[cpu]);
    asm volatile("" ::: "memory");
    return trap;
}

Application make_application() {
    Application made{};
    made.cpu = ~0u;
    made.cr3 = allocate_page();
    for (int i = 256; i < 512; i++) direct<uint64_t>(made.cr3)[i] = direct<uint64_t>(boot->user_pml4_template)[i];
    uint64_t code = allocate_page();
    memcpy(direct<char>(code), application_start, application_end - application_start);
    made.map(kApplicationCode, code, 0);
    made.map(kApplicationData, allocate_page(), 2 | 1ULL << 63);
    made.map(kApplicationStack, allocate_page(), 2 | 1ULL << 63);
    return made;
}

uint32_t lapic_read(unsigned offset) { return *reinterpret_cast<volatile uint32_t*>(kDirectMap + kLapicGpa + offset); }
void lapic_write(unsigned offset, uint32_t value) {
    *reinterpret_cast<volatile uint32_t*>(kDirectMap + kLapicGpa + offset) = value;
}

void end_of_interrupt() {
    uint32_t& word = area(this_cpu()).pv_eoi;
    if (__atomic_exchange_n(&word, 0, __ATOMIC_SEQ_CST) & 1) return;
    lapic_write(0xb0, 0);
}

void arm_timer(uint32_t nanoseconds) {
    lapic_write(0x3e0, 0xb);           // divide by 1
    lapic_write(0x320, kVectorTimer);  // one shot
    lapic_write(0x380, nanoseconds);
}

void send_ipi(unsigned cpu, uint8_t vector) {
    lapic_write(0x310, cpu << 24);
    lapic_write(0x300, 0x4000 | vector);
}

uint64_t wait(uint64_t mask) {
    CpuArea& here = area(this_cpu());
    uint64_t came = 0;
    while (!(came & mask)) {
        reinterpret_cast<void (*)()>(here.wait_for_interrupt)();
        uint64_t now = __atomic_exchange_n(&here.pending_interrupts, 0, __ATOMIC_SEQ_CST);
        for (uint64_t left = now; left != 0; left &= left - 1) end_of_interrupt();
        came |= now;
    }
    return came;
}

}  // namespace mini
