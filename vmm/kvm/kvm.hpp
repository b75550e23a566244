#pragma once
// /dev/kvm: the VM and its vCPUs (Documentation/virt/kvm/api.rst). Thin: one method per thing that is done, errors with
// a line in the log.
#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

#include "common/host/fd.hpp"
#include "common/host/log.hpp"
#include "vmm/guest_memory.hpp"
#include "vmm/kvm/cpu_features.hpp"

namespace kvmsbx::vmm {

// A virtual CPU. Its ioctls belong to one thread at a time (KVM's rule).
class Vcpu {
  public:
    static Result<Vcpu> create(const host::Log& log, int kvm, int vm, unsigned id, const CpuFeatures& features);
    Vcpu(Vcpu&& other) noexcept;
    ~Vcpu();

    unsigned id() const { return id_; }
    int fd() const { return fd_.get(); }
    kvm_run& run_page() { return *run_; }

    // KVM_RUN; EINTR and EAGAIN are errors of their own.
    Result<> enter();
    Result<kvm_regs> registers() const;
    Result<> set_registers(const kvm_regs& registers);
    Result<kvm_sregs> system_registers() const;
    Result<> set_system_registers(const kvm_sregs& registers);
    // EINVAL or ENOENT if KVM does not take that MSR.
    Result<> set_msr(uint32_t index, uint64_t value);
    Result<> set_xcr0(uint64_t value);
    Result<> enable_lapic();
    Result<> set_runnable();

  private:
    Vcpu(host::Fd fd, kvm_run* run, size_t run_size, unsigned id)
        : fd_(std::move(fd)), run_(run), run_size_(run_size), id_(id) {}

    host::Fd fd_;
    kvm_run* run_;
    size_t run_size_;
    unsigned id_;
};

class Vm {
  public:
    // `kvm_fd`: /dev/kvm, or -1 to open it.
    static Result<Vm> create(const host::Log& log, int kvm_fd);

    int fd() const { return vm_.get(); }
    void log_to(const host::Log& log) { log_ = &log; }
    Result<CpuFeatures> features() const { return CpuFeatures::query(kvm_); }
    Result<Vcpu> create_vcpu(unsigned id, const CpuFeatures& features) {
        return Vcpu::create(*log_, kvm_, vm_.get(), id, features);
    }
    // `slot`: 0..; `size` in bytes.
    Result<> map_memory(unsigned slot, GuestPhys at, void* host, uint64_t size);
    // A 4-byte guest write at `at` signals `eventfd` without an exit to user space.
    Result<> attach_doorbell(GuestPhys at, int eventfd);
    // Signalling `eventfd` raises `vector` on `cpu` (edge, by MSI). `gsi`: a free number, 24..
    Result<> attach_interrupt(unsigned gsi, int eventfd, unsigned cpu, uint8_t vector);
    // Raises `vector` on `cpu` now.
    Result<> raise_interrupt(unsigned cpu, uint8_t vector) const;
    // 0 if unknown.
    static uint64_t tsc_khz(const Vcpu& vcpu);

  private:
    Vm(const host::Log& log, int kvm, host::Fd owned, host::Fd vm)
        : log_(&log), kvm_(kvm), owned_(std::move(owned)), vm_(std::move(vm)) {}

    const host::Log* log_;
    int kvm_;
    host::Fd owned_;
    host::Fd vm_;
    std::vector<kvm_irq_routing_entry> routes_;
};

}  // namespace kvmsbx::vmm
