#pragma once
// Guest RAM as the VMM sees it, at kRamGpa in the guest. With KVM: one anonymous NORESERVE mapping, huge pages where the
// host has them. On the process platform: a file that stubs map pieces of, at kProcessDirectMap + kRamGpa.
//
// Hostile from the first guest instruction on: a guest address is a GuestPhys, which cannot be dereferenced; bytes are
// copied in and then checked. Only while the guest does not run yet (machine building) does BootMemory hand out plain
// pointers.
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/abi/layout.hpp"
#include "common/base/result.hpp"
#include "common/host/log.hpp"

namespace kvmsbx::vmm {

struct GuestPhys {
    uint64_t value = 0;
    friend bool operator==(GuestPhys, GuestPhys) = default;
    friend GuestPhys operator+(GuestPhys a, uint64_t bytes) { return {a.value + bytes}; }
};

class GuestMemory {
  public:
    // `size`: bytes, a multiple of 2 MiB. Fails with a line in the log.
    static Result<GuestMemory> create(const host::Log& log, uint64_t size);
    // The file `fd`, which becomes `size` bytes long and stays the caller's, at `address` (free, a multiple of 2 MiB).
    static Result<GuestMemory> map_file(const host::Log& log, int fd, uint64_t address, uint64_t size);
    GuestMemory(GuestMemory&& other) noexcept;
    GuestMemory& operator=(GuestMemory&&) = delete;
    ~GuestMemory();

    uint64_t size() const { return size_; }
    void* host_base() const { return base_; }  // for KVM_SET_USER_MEMORY_REGION and the Sentry in this process only

    // EFAULT unless [from, from + size) lies in RAM. The guest may change the bytes at any time: check the copy.
    Result<> copy_in(GuestPhys from, std::span<std::byte> to) const;
    Result<> copy_out(GuestPhys to, std::span<const std::byte> from) const;
    template <typename T>
    Result<> copy_in_value(GuestPhys from, T& to) const {
        return copy_in(from, std::as_writable_bytes(std::span(&to, 1)));
    }
    template <typename T>
    Result<> copy_out_value(GuestPhys to, const T& from) const {
        return copy_out(to, std::as_bytes(std::span(&from, 1)));
    }
    // Gives the host's memory back; the next touch reads zeroes. Multiples of 4 KiB inside RAM, else EINVAL.
    Result<> release(GuestPhys from, uint64_t length) const;

  private:
    friend class BootMemory;
    GuestMemory(std::byte* base, uint64_t size, int file) : base_(base), size_(size), file_(file) {}
    Result<std::byte*> locate(GuestPhys at, uint64_t length) const;

    std::byte* base_;
    uint64_t size_;
    int file_;  // -1: anonymous
};

// Hands out RAM from its start while the machine is built.
class BootMemory {
  public:
    explicit BootMemory(GuestMemory& memory) : memory_(memory) {}

    // Zeroed pages. ENOMEM when RAM is used up. `alignment`: bytes, a power of two, at least 4 KiB.
    Result<GuestPhys> allocate(uint64_t bytes, uint64_t alignment = abi::kPageSize);
    // Where the VMM builds; only for what allocate() gave, before the guest runs.
    std::byte* at(GuestPhys address) const;
    template <typename T>
    T* as(GuestPhys address) const {
        // SAFETY: pages of allocate() are zeroed, page-aligned and not shared with running guest code; T is a trivial
        // type of the ABI.
        return reinterpret_cast<T*>(at(address));
    }
    GuestPhys first_free() const { return {abi::kRamGpa + used_}; }

  private:
    GuestMemory& memory_;
    uint64_t used_ = 0;
};

}  // namespace kvmsbx::vmm
