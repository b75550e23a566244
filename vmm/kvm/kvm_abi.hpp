#pragma once
// <linux/kvm.h> declares its variable-length structures with __DECLARE_FLEX_ARRAY, which in C++ makes them 4 bytes too
// large: wrong ioctl numbers and wrong offsets. These are the same structures' headers; the entries follow at once
// (Documentation/virt/kvm/api.rst).
#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

namespace kvmsbx::vmm {

struct KvmListHeader {
    uint32_t count;
    uint32_t zero;
};
static_assert(sizeof(KvmListHeader) == 8 && sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_msr_entry) == 16 &&
              sizeof(kvm_irq_routing_entry) == 48);

inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, KvmListHeader);
inline constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, KvmListHeader);
inline constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, KvmListHeader);
inline constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, KvmListHeader);

// Header and entries as one block of bytes.
template <typename Entry>
class KvmList {
  public:
    explicit KvmList(uint32_t capacity) : bytes_(new std::byte[sizeof(KvmListHeader) + capacity * sizeof(Entry)]()) {
        set_count(capacity);
    }
    explicit KvmList(std::span<const Entry> entries) : KvmList(entries.size()) {
        memcpy(bytes_.get() + sizeof(KvmListHeader), entries.data(), entries.size_bytes());
    }
    std::byte* data() { return bytes_.get(); }
    uint32_t count() const {
        KvmListHeader header;
        memcpy(&header, bytes_.get(), sizeof header);
        return header.count;
    }
    Entry entry(uint32_t index) const {
        Entry copy;
        memcpy(&copy, bytes_.get() + sizeof(KvmListHeader) + index * sizeof(Entry), sizeof copy);
        return copy;
    }

  private:
    void set_count(uint32_t count) {
        KvmListHeader header{count, 0};
        memcpy(bytes_.get(), &header, sizeof header);
    }
    std::unique_ptr<std::byte[]> bytes_;
};

}  // namespace kvmsbx::vmm
