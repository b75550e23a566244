#include "vmm/kvm/kvm.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "common/host/errno.hpp"
#include "vmm/kvm/kvm_abi.hpp"

namespace kvmsbx::vmm {
namespace {

// Three pages below 4 GiB that KVM on Intel wants for itself; clear of everything in layout.hpp.
constexpr uint64_t kTssPages = 0xfffbd000;

template <typename T>
Result<int> call(int fd, unsigned long request, T argument) {
    int got = ioctl(fd, request, argument);
    if (got < 0) return host::last_errno();
    return got;
}

// LAPICs only, where KVM can: a PIC and an IOAPIC that nobody uses would cost several milliseconds of start-up (each
// registration waits for SRCU) and be attack surface.
Result<> create_lapics(int vm) {
    kvm_enable_cap split{};
    split.cap = KVM_CAP_SPLIT_IRQCHIP;
    if (call(vm, KVM_ENABLE_CAP, &split).is_ok()) return {};
    TRY(call(vm, KVM_CREATE_IRQCHIP, 0));
    return {};
}

}  // namespace

Result<Vm> Vm::create(const host::Log& log, int kvm_fd) {
    host::Fd owned;
    if (kvm_fd < 0) {
        owned = host::Fd(open("/dev/kvm", O_RDWR | O_CLOEXEC));
        kvm_fd = owned.get();
        if (kvm_fd < 0)
            return log.fail(host::last_errno(),
                            "cannot open /dev/kvm: %m; load the kvm module, or give this user access (group kvm, or "
                            "--device /dev/kvm in a container)");
    }
    int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return log.fail(Errno::kNODEV, "/dev/kvm is no KVM of API version %d (it says %d)", KVM_API_VERSION, version);
    int vm;
    do vm = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    while (vm < 0 && errno == EINTR);
    if (vm < 0) return log.fail(host::last_errno(), "cannot create a VM (KVM_CREATE_VM): %m");
    Vm made(log, kvm_fd, std::move(owned), host::Fd(vm));
    if (call(vm, KVM_SET_TSS_ADDR, kTssPages).is_error()) return log.fail(host::last_errno(), "KVM_SET_TSS_ADDR: %m");
    if (create_lapics(vm).is_error())
        return log.fail(host::last_errno(), "this KVM has no in-kernel interrupt controller (KVM_CREATE_IRQCHIP): %m");
    return made;
}

Result<> Vm::map_memory(unsigned slot, GuestPhys at, void* host, uint64_t size) {
    kvm_userspace_memory_region region{};
    region.slot = slot;
    region.guest_phys_addr = at.value;
    region.memory_size = size;
    region.userspace_addr = reinterpret_cast<uintptr_t>(host);
    if (call(vm_.get(), KVM_SET_USER_MEMORY_REGION, &region).is_error())
        return log_->fail(host::last_errno(),
                          "cannot give the VM %llu MiB of memory at %#llx: %m; set a smaller --memory",
                          static_cast<unsigned long long>(size >> 20), static_cast<unsigned long long>(at.value));
    return {};
}

Result<> Vm::attach_doorbell(GuestPhys at, int eventfd) {
    kvm_ioeventfd event{};
    event.addr = at.value;
    event.len = 4;
    event.fd = eventfd;
    if (call(vm_.get(), KVM_IOEVENTFD, &event).is_error())
        return log_->fail(host::last_errno(), "cannot attach the gofer's doorbell (KVM_IOEVENTFD): %m");
    return {};
}

Result<> Vm::attach_interrupt(unsigned gsi, int eventfd, unsigned cpu, uint8_t vector) {
    kvm_irq_routing_entry route{};
    route.gsi = gsi;
    route.type = KVM_IRQ_ROUTING_MSI;
    route.u.msi.address_lo = abi::kLapicGpa | cpu << 12;
    route.u.msi.data = vector;
    routes_.push_back(route);
    if (call(vm_.get(), kSetGsiRouting, KvmList<kvm_irq_routing_entry>(routes_).data()).is_error())
        return log_->fail(host::last_errno(), "KVM_SET_GSI_ROUTING: %m");
    kvm_irqfd irq{};
    irq.fd = eventfd;
    irq.gsi = gsi;
    if (call(vm_.get(), KVM_IRQFD, &irq).is_error())
        return log_->fail(host::last_errno(), "cannot attach an interrupt (KVM_IRQFD): %m");
    return {};
}

Result<> Vm::raise_interrupt(unsigned cpu, uint8_t vector) const {
    kvm_msi message{};
    message.address_lo = abi::kLapicGpa | cpu << 12;
    message.data = vector;
    TRY(call(vm_.get(), KVM_SIGNAL_MSI, &message));
    return {};
}

uint64_t Vm::tsc_khz(const Vcpu& vcpu) { return call(vcpu.fd(), KVM_GET_TSC_KHZ, 0).value_or(0); }

Result<Vcpu> Vcpu::create(const host::Log& log, int kvm, int vm, unsigned id, const CpuFeatures& features) {
    host::Fd fd(ioctl(vm, KVM_CREATE_VCPU, id));
    if (!fd.is_open()) return log.fail(host::last_errno(), "cannot create vCPU %u: %m; try fewer --cpus", id);
    int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < 0) return log.fail(host::last_errno(), "KVM_GET_VCPU_MMAP_SIZE: %m");
    void* page = mmap(nullptr, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (page == MAP_FAILED) return log.fail(host::last_errno(), "cannot map the run page of vCPU %u: %m", id);
    Vcpu made(std::move(fd), static_cast<kvm_run*>(page), run_size, id);
    auto cpuid = features.cpuid_for(id);
    if (call(made.fd(), kSetCpuid2, KvmList<kvm_cpuid_entry2>(cpuid).data()).is_error())
        return log.fail(host::last_errno(), "KVM_SET_CPUID2: %m");
    return made;
}

Vcpu::Vcpu(Vcpu&& other) noexcept
    : fd_(std::move(other.fd_)), run_(other.run_), run_size_(other.run_size_), id_(other.id_) {
    other.run_ = nullptr;
}

Vcpu::~Vcpu() {
    if (run_ != nullptr) munmap(run_, run_size_);
}

Result<> Vcpu::enter() {
    TRY(call(fd(), KVM_RUN, 0));
    return {};
}

Result<kvm_regs> Vcpu::registers() const {
    kvm_regs registers{};
    TRY(call(fd(), KVM_GET_REGS, &registers));
    return registers;
}

Result<> Vcpu::set_registers(const kvm_regs& registers) {
    TRY(call(fd(), KVM_SET_REGS, &registers));
    return {};
}

Result<kvm_sregs> Vcpu::system_registers() const {
    kvm_sregs registers{};
    TRY(call(fd(), KVM_GET_SREGS, &registers));
    return registers;
}

Result<> Vcpu::set_system_registers(const kvm_sregs& registers) {
    TRY(call(fd(), KVM_SET_SREGS, &registers));
    return {};
}

Result<> Vcpu::set_msr(uint32_t index, uint64_t value) {
    kvm_msr_entry entry{};
    entry.index = index;
    entry.data = value;
    if (TRY(call(fd(), kSetMsrs, KvmList(std::span<const kvm_msr_entry>(&entry, 1)).data())) != 1) return Errno::kINVAL;
    return {};
}

Result<> Vcpu::set_xcr0(uint64_t value) {
    kvm_xcrs registers{};
    registers.nr_xcrs = 1;
    registers.xcrs[0].value = value;
    TRY(call(fd(), KVM_SET_XCRS, &registers));
    return {};
}

Result<> Vcpu::enable_lapic() {
    kvm_lapic_state state;
    TRY(call(fd(), KVM_GET_LAPIC, &state));
    auto put = [&](unsigned offset, uint32_t value) { memcpy(state.regs + offset, &value, sizeof value); };
    put(0x80, 0);                                                             // TPR: accept everything
    put(0xf0, 0x100 | abi::kVectorSpurious);                                  // spurious vector register: enabled
    for (unsigned lvt = 0x320; lvt <= 0x370; lvt += 0x10) put(lvt, 1 << 16);  // masked
    TRY(call(fd(), KVM_SET_LAPIC, &state));
    return {};
}

Result<> Vcpu::set_runnable() {
    kvm_mp_state state{KVM_MP_STATE_RUNNABLE};
    TRY(call(fd(), KVM_SET_MP_STATE, &state));
    return {};
}

}  // namespace kvmsbx::vmm
