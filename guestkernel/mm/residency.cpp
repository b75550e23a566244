// What of an address space is in memory.
#include <algorithm>

#include "guestkernel/mm/address_space.hpp"

namespace kvmsbx::mm {

AddressSpace::Residency AddressSpace::residency(UserAddress start, UserAddress end) {
    Residency sum;
    for (UserAddress at = table_.next_populated(start, end); at < end;) {
        const UserAddress block_end = std::min(end, (at & ~(kHugePageSize - 1)) + kHugePageSize);
        at = std::max(at, start);
        const Pte& huge = *table_.find_huge(at);
        if (huge.huge()) {
            sum.pages += (block_end - at) / kPageSize;
            sum.writable += (block_end - at) / kPageSize;
        } else {
            const Pte* pte = table_.find(at);
            for (UserAddress page = at; page < block_end; page += kPageSize, ++pte) {
                sum.pages += pte->present();
                sum.writable += pte->present() && pte->writable();
            }
        }
        if (block_end >= end) break;
        at = table_.next_populated(block_end, end);
    }
    return sum;
}

uint64_t AddressSpace::resident_pages() { return residency(0, abi::kUserEnd).pages; }

uint64_t AddressSpace::peak_resident_pages() { return peak_resident_ = std::max(peak_resident_, resident_pages()); }

}  // namespace kvmsbx::mm
