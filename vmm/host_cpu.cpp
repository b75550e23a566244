#include "vmm/host_cpu.hpp"

#include <cpuid.h>

#include <algorithm>
#include <cstring>

namespace kvmsbx::vmm {

bool host_has_xsaveopt() {
    uint32_t eax, ebx, ecx, edx;
    return __get_cpuid_count(0xd, 1, &eax, &ebx, &ecx, &edx) && (eax & 1);
}

uint64_t fpu_area_size(uint64_t xcr0) {
    uint64_t size = xcr0 == 0 ? 512 : 576;
    for (unsigned component = 2; component < 63; component++) {
        if (!(xcr0 >> component & 1)) continue;
        uint32_t bytes, offset, ecx, edx;
        if (__get_cpuid_count(0xd, component, &bytes, &offset, &ecx, &edx))
            size = std::max<uint64_t>(size, uint64_t{offset} + bytes);
    }
    return size;
}

void read_cpu_model(char (&model)[64]) {
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t words[4];
        if (!__get_cpuid(0x80000002 + i, &words[0], &words[1], &words[2], &words[3])) return;
        memcpy(model + 16 * i, words, 16);
    }
    model[48] = 0;
}

}  // namespace kvmsbx::vmm
