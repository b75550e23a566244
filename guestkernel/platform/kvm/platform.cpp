// The machine as a KVM guest: both privilege modes (see common/abi/cpu_area.hpp).
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/hypercall.hpp"
#include "guestkernel/platform/start.hpp"
#include "guestkernel/platform/user_context.hpp"

namespace kvmsbx::platform {
namespace {

const abi::BootInfo* boot;

// LAPIC registers (Intel SDM vol. 3, table 11-1), offsets in bytes.
enum Lapic : uint32_t {
    kEoi = 0xb0,
    kIrr = 0x200,  // 8 registers of 32 vectors each, 0x10 bytes apart
    kIcrLow = 0x300,
    kIcrHigh = 0x310,
    kLvtTimer = 0x320,
    kTimerInitial = 0x380,
    kTimerDivide = 0x3e0
};
constexpr uint32_t kDivideBy1 = 0xb;

// SAFETY: the LAPIC page is mapped in the direct map of every Sentry page table.
void write_lapic(Lapic offset, uint32_t value) {
    *reinterpret_cast<volatile uint32_t*>(abi::kDirectMap + abi::kLapicGpa + offset) = value;
}

uint32_t read_lapic(uint32_t offset) {
    return *reinterpret_cast<volatile uint32_t*>(abi::kDirectMap + abi::kLapicGpa + offset);
}

// SAFETY: as above, the device page.
void write_device(uint64_t offset) {
    *reinterpret_cast<volatile uint32_t*>(abi::kDirectMap + abi::kDeviceGpa + offset) = 1;
}

// SAFETY: the VMM put the address of generated code there.
template <typename Function>
Function generated(uint64_t address) {
    return reinterpret_cast<Function>(address);
}

}  // namespace

const uint64_t user_end = abi::kUserEnd;

void set_boot_info(const abi::BootInfo& info) { boot = &info; }
const abi::BootInfo& boot_info() { return *boot; }

void prepare_stack(void*) {}

void* phys_to_virt(Phys phys) { return reinterpret_cast<void*>(abi::kDirectMap + phys); }  // SAFETY: the direct map
Phys virt_to_phys(const void* address) {
    return reinterpret_cast<uint64_t>(address) - abi::kDirectMap;
}  // SAFETY: as above

void make_hypercall(CpuArea&) { write_device(abi::kHypercallOffset); }

void init_cpu(CpuArea&) {
    write_lapic(kTimerDivide, kDivideBy1);
    write_lapic(kLvtTimer, abi::kVectorTimer);
}

void set_timer(uint64_t ns) {
    if (ns == 0) {
        write_lapic(kTimerInitial, 0);
        return;
    }
    const uint64_t hz = boot->lapic_timer_hz;
    uint64_t counts = ns >= 1'000'000'000 ? hz : ns * (hz / 1'000'000) / 1000;
    if (counts == 0) counts = 1;
    if (counts > 0xffff'ffff) counts = 0xffff'ffff;
    write_lapic(kTimerInitial, static_cast<uint32_t>(counts));
}

void kick(const CpuArea& target) {
    write_lapic(kIcrHigh, target.apic_id << 24);
    write_lapic(kIcrLow, abi::kVectorIpi);
}

void end_of_interrupt() {
    // PV EOI: KVM sets bit 0 when no EOI write is needed for the last interrupt; clearing it is the EOI.
    if (__atomic_fetch_and(&cpu().pv_eoi, ~1U, __ATOMIC_ACQ_REL) & 1) return;
    write_lapic(kEoi, 0);
}

bool interrupt_waits() {
    constexpr uint32_t kOurs = (1U << (abi::kVectorLast - abi::kVectorFirst + 1)) - 1;
    static_assert(abi::kVectorFirst % 32 == 0);
    return read_lapic(kIrr + abi::kVectorFirst / 32 * 0x10) & kOurs;
}

uint64_t wait_for_interrupts() {
    CpuArea& area = cpu();
    if (__atomic_load_n(&area.pending_interrupts, __ATOMIC_ACQUIRE) == 0)
        generated<void (*)()>(area.wait_for_interrupt)();
    const uint64_t pending = __atomic_exchange_n(&area.pending_interrupts, 0, __ATOMIC_ACQ_REL);
    for (uint64_t left = pending; left; left &= left - 1) end_of_interrupt();
    return pending;
}

void yield() { relax(); }

void drop_user_space() { generated<void (*)()>(cpu().drop_user_space)(); }

void ring_gofer() { write_device(abi::kGoferDoorbellOffset); }

void save_fpu(void* area) { generated<void (*)(void*)>(cpu().fpu_save)(area); }
void restore_fpu(const void* area) { generated<void (*)(const void*)>(cpu().fpu_restore)(area); }

uint64_t read_fs_base() { return __builtin_ia32_rdfsbase64(); }
uint64_t read_gs_base() { return __builtin_ia32_rdgsbase64(); }
void write_fs_base(uint64_t base) { __builtin_ia32_wrfsbase64(base); }
void write_gs_base(uint64_t base) { __builtin_ia32_wrgsbase64(base); }

}  // namespace kvmsbx::platform
