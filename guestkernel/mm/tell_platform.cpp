// What a platform that caches mappings is told after a fault: the page, and what lies around it and is in the page table already.
#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/platform/address_space.hpp"

namespace kvmsbx::mm {
namespace {

using platform::Run;
using Expected = platform::UserSpace::Expected;

// Pages around the fault that are told of, where they are no continuation of its run: an aligned window, or all of a
// small mapping.
constexpr uint64_t kWindow = 16 * kPageSize;

// A page whose use is to be noticed (AddressSpace::note_use) must come by a fault.
bool is_usable(const Pte& pte) {
    constexpr uint64_t kWanted = kPtePresent | kPteUser | kPteAccessed;
    return (pte.value & kWanted) == kWanted;
}

Run run_of(UserAddress at, uint64_t length, const Pte& pte, Phys phys) {
    return {at, length, phys, pte.writable(), !(pte.value & kPteNoExecute)};
}

bool continues(const Run& run, const Run& next) {
    return run.address + run.length == next.address && run.phys + run.length == next.phys &&
           run.writable == next.writable && run.executable == next.executable;
}

class Collector {
  public:
    explicit Collector(UserAddress page) : page_(page) {}

    // In ascending order of addresses. The page of zeroes is told of where it was asked for: it is never a run.
    void add(const Run& next) {
        if (count_ > 0 && continues(runs_[count_ - 1], next)) {
            runs_[count_ - 1].length += next.length;
            return;
        }
        if (next.phys == zero_frame()->phys() && next.address != page_) return;
        if (count_ < platform::UserSpace::kMostRuns) runs_[count_++] = next;
    }
    const Run* runs() const { return runs_; }
    unsigned count() const { return count_; }
    bool full() const { return count_ == platform::UserSpace::kMostRuns; }

  private:
    UserAddress page_;
    Run runs_[platform::UserSpace::kMostRuns];
    unsigned count_ = 0;
};

}  // namespace

void AddressSpace::tell_platform(UserAddress address) {
    if (!platform::UserSpace::caches_mappings()) return;
    tell_of_page(address);
    release_held_frames();
}

void AddressSpace::tell_of_page(UserAddress address) {
    const UserAddress page = address & ~(kPageSize - 1), block = address & ~(kHugePageSize - 1);
    Collector collector(page);
    const Pte* huge = table_.find_huge(page);
    if (huge && huge->present() && huge->huge()) {
        if (is_usable(*huge)) collector.add(run_of(block, kHugePageSize, *huge, huge->phys()));
        return user_.mapped(collector.runs(), collector.count(), Expected::kAll);
    }
    const Pte* table = huge && huge->present() ? table_.find(block) : nullptr;
    if (!table) return user_.mapped(nullptr, 0, Expected::kAll);
    const auto run_at = [&](UserAddress at) {
        const Pte& pte = table[(at - block) / kPageSize];
        return is_usable(pte) ? run_of(at, kPageSize, pte, pte.phys()) : Run{};
    };
    const Run here = run_at(page);
    if (!here.length) return user_.mapped(nullptr, 0, Expected::kAll);
    // The page's own run may go on beyond the window, to both sides.
    UserAddress from = page & ~(kWindow - 1), to = from + kWindow;
    if (const Vma* vma = find(page); vma && vma->pages() <= kSmallMapping) {
        from = vma->start < block ? block : vma->start;
        to = vma->end;
    }
    Run first = here;
    while (first.address > block && run_at(first.address - kPageSize).length &&
           continues(run_at(first.address - kPageSize), first))
        first = run_at(first.address - kPageSize);
    if (first.address < from) from = first.address;
    for (UserAddress at = from; at < block + kHugePageSize; at += kPageSize) {
        const Run next = run_at(at);
        if (at >= to) {
            // Beyond the window only what continues the last run.
            if (!next.length || collector.count() == 0 || !continues(collector.runs()[collector.count() - 1], next))
                break;
        }
        if (next.length) collector.add(next);
    }
    user_.mapped(collector.runs(), collector.count(), Expected::kAll);
}

void AddressSpace::tell_platform_of_all(Tell what) {
    if (!platform::UserSpace::caches_mappings()) return;
    Collector collector(~0ULL);
    for (auto it = vmas_.rbegin(); it != vmas_.rend() && !collector.full(); ++it) {
        const Vma& vma = *it;
        for (UserAddress at = table_.next_populated(vma.start, vma.end); at < vma.end && !collector.full();
             at = table_.next_populated(at, vma.end)) {
            const UserAddress block = at & ~(kHugePageSize - 1), block_end = block + kHugePageSize;
            const UserAddress stop = vma.end < block_end ? vma.end : block_end;
            const Pte& huge = *table_.find_huge(at);
            if (huge.huge()) {
                if (is_usable(huge) && (what == Tell::kAll || huge.writable()))
                    collector.add(run_of(at, stop - at, huge, huge.phys() + (at - block)));
                at = stop;
                continue;
            }
            for (const Pte* pte = table_.find(at); at < stop; at += kPageSize, ++pte)
                if (is_usable(*pte) && (what == Tell::kAll || pte->writable()))
                    collector.add(run_of(at, kPageSize, *pte, pte->phys()));
        }
    }
    user_.mapped(collector.runs(), collector.count(), Expected::kSome);
    release_held_frames();
}

}  // namespace kvmsbx::mm
