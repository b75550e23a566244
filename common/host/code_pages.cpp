#include "common/host/code_pages.hpp"

#include <link.h>
#include <sys/mman.h>

#include <cstdint>

namespace kvmsbx::host {

void let_go_of_code() {
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void*) {
            constexpr uintptr_t kPage = 4096;
            for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr)& segment = info->dlpi_phdr[i];
                if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W)) continue;
                const uintptr_t begin = (info->dlpi_addr + segment.p_vaddr) & ~(kPage - 1);
                const uintptr_t end = (info->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~(kPage - 1);
                // SAFETY: the kernel's own layout of this executable; nothing there was ever written.
                if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
            }
            return 0;
        },
        nullptr);
}

}  // namespace kvmsbx::host
