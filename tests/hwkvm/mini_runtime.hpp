#pragma once
// What the mini Sentry stands on: hypercalls, checks, an application's address space, and run(), which turns "resume
// and wait for the next trap" into a call.
#include "common/abi/boot_info.hpp"
#include "common/abi/cpu_area.hpp"
#include "common/abi/hypercall.hpp"
#include "common/abi/layout.hpp"

namespace mini {

using namespace kvmsbx::abi;

inline constexpr uint64_t kApplicationCode = 0x400000, kApplicationData = 0x500000, kApplicationStack = 0x600000;

extern const BootInfo* boot;

int64_t hypercall(HypercallNumber number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0);
CpuArea& area(unsigned cpu);
unsigned this_cpu();

uint64_t gpa(const void* direct_or_image);
template <typename T>
T* direct(uint64_t gpa) {
    return reinterpret_cast<T*>(kDirectMap + gpa);
}
uint64_t allocate_page();

void log(const char* text);
void log_number(const char* text, uint64_t value);
[[noreturn]] void finish();  // ends the sandbox with 0 if every check held, else 1
[[noreturn]] void panic(const char* message);

bool check(bool good, const char* what, uint64_t got, uint64_t wanted, int line);
#define CHECK_EQUAL(got, wanted)                                       \
    do {                                                               \
        uint64_t got_ = (uint64_t)(got), wanted_ = (uint64_t)(wanted); \
        mini::check(got_ == wanted_, #got, got_, wanted_, __LINE__);   \
    } while (0)

// A page table with the application's code, a data page and a stack page.
struct Application {
    uint64_t cr3;
    UserRegs regs;
    unsigned cpu;                                               // it stays on the vCPU that first runs it
    void map(uint64_t address, uint64_t page, uint64_t flags);  // flags: 2 writable, 1 << 63 no execute
    // Runs from `entry` (a label of mini_application.S) until the next trap; registers as they are in regs.
    uint64_t start(const char* entry);
    // Resumes after the last trap. `how`: kTrapSyscall (SYSRET allowed) or kTrapNone.
    uint64_t resume(uint64_t how);
};
Application make_application();

uint32_t lapic_read(unsigned offset);
void lapic_write(unsigned offset, uint32_t value);
void end_of_interrupt();
void arm_timer(uint32_t nanoseconds);
void send_ipi(unsigned cpu, uint8_t vector);
// Waits with wait_for_interrupt until one of `mask` came; takes and acknowledges all that came. Returns the bits.
uint64_t wait(uint64_t mask);

// Application labels.
uint64_t address_of(const char* label);

}  // namespace mini
