// The VMM's loader of the Sentry's ELF file: no bytes may crash it, and what it accepts keeps its promises.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "common/abi/layout.hpp"
#include "vmm/sentry_elf.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace kvmsbx;
    const char* why = nullptr;
    auto elf = vmm::parse_sentry_elf(std::as_bytes(std::span(data, size)), abi::kSentryBase, &why);
    if (elf.is_error()) {
        if (why == nullptr) std::abort();
        return 0;
    }
    uint64_t last_end = 0;
    for (const auto& segment : elf->segments) {
        if (segment.writable && segment.executable) std::abort();
        if (segment.address < abi::kSentryBase || segment.address < last_end ||
            segment.contents.size() > segment.memory_size)
            std::abort();
        last_end = segment.address + segment.memory_size;
    }
    for (const auto& function : elf->functions) static_cast<void>(vmm::symbolise(*elf, function.address));
    return 0;
}
