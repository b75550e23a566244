// fork(2)'s copy of an address space: page tables are copied, not pages.
#include <cstring>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/platform/address_space.hpp"

namespace kvmsbx::mm {

namespace {

Result<OwnPtr<Vma>> copy_vma(const Vma& vma) {
    auto copy = TRY(make_own<Vma>());
    copy->start = vma.start, copy->end = vma.end;
    copy->protection = vma.protection, copy->max_protection = vma.max_protection;
    copy->shared = vma.shared, copy->grows_down = vma.grows_down;
    static_cast<VmaTraits&>(*copy) = vma;
    copy->locked = copy->lock_on_fault = false;  // mlock(2)
    copy->kind = vma.kind;
    copy->object = vma.object;
    copy->first_page = vma.first_page;
    copy->file = vma.file;
    return copy;
}

// Pages written since the last fork will most likely be written again, by both sides, and those that a child copied by
// the next child: so many of each kind are copied at once, which saves each side a fault.
struct Budget {
    unsigned written = 24, copied = 16;
};

bool is_worth_a_copy(const Pte& source, const Vma& vma, Budget& budget) {
    const Frame& frame = *source.frame();
    if (frame.references != 1) return false;
    if (source.dirty() && source.writable() && budget.written > 0) {
        --budget.written;
        return true;
    }
    return (frame.flags & Frame::kCopied) && (vma.protection & kProtWrite) && budget.copied > 0 && budget.copied--;
}

// A private page for the child: a copy of its own. False where that is not worth it or memory is short.
bool copy_eagerly(Pte& source, Pte& target, UserAddress at, const Vma& vma, Budget& budget) {
    if (!is_worth_a_copy(source, vma, budget)) return false;
    auto copy = allocate_private_frame(vma, at, target, Zero::kNo);
    if (copy.is_error()) return false;
    memcpy(copy.value()->data(), source.frame()->data(), kPageSize);
    target.value = (source.value & ~kPteAddress) | copy.value()->phys() | kPteWrite | kPteDirty;
    // Where no CPU sets the bit again, a page that stays writable counts as written.
    if (!platform::UserSpace::caches_mappings()) source.value &= ~kPteDirty;
    return true;
}

// True: the source has lost its right to write.
bool copy_entry(Pte& source, Pte& target, UserAddress at, const Vma& vma, Budget& budget) {
    if (!vma.shared && copy_eagerly(source, target, at, vma, budget)) return false;
    const bool narrowed = !vma.shared && source.writable();
    if (narrowed) source.value &= ~kPteWrite;
    source.frame()->ref();
    target = source;
    return narrowed;
}

// A 2 MiB page of an object: the child's is the same; false where it has to be split.
Result<bool> share_block(const Pte& source, PageTable& to, const Vma& vma, UserAddress block_end) {
    if (vma.start > block_end - kHugePageSize || vma.end < block_end) return false;
    bool dropped;  // nobody runs with this table yet
    Pte* target = TRY(to.obtain_vacant(block_end - kHugePageSize, dropped));
    if (!target) return false;
    for (uint64_t i = 0; i < kBlockPages; ++i) source.frame()[i].ref();
    *target = source;
    return true;
}

// Copies the entries of a VMA, one table at a time; those of private memory become read-only on both sides, which
// narrowed(start, end) is told of.
template <typename Narrowed>
Result<> copy_entries(PageTable& from, PageTable& to, const Vma& vma, Budget& budget, Narrowed narrowed) {
    for (UserAddress at = from.next_populated(vma.start, vma.end); at < vma.end;
         at = from.next_populated(at, vma.end)) {
        const UserAddress block_end = (at & ~(kHugePageSize - 1)) + kHugePageSize;
        Pte& huge = *from.find_huge(at);
        if (huge.huge() && vma.object && TRY(share_block(huge, to, vma, block_end))) {
            at = block_end;
            continue;
        }
        if (huge.huge()) TRY(from.split_huge(huge));
        const UserAddress stop = vma.end < block_end ? vma.end : block_end;
        Pte* source = from.find(at);
        Pte* target = nullptr;
        for (; at < stop; at += kPageSize, ++source, target = target ? target + 1 : nullptr) {
            if (!source->present()) continue;
            if (!target) target = TRY(to.obtain(at));
            if (copy_entry(*source, *target, at, vma, budget)) narrowed(at, at + kPageSize);
        }
    }
    return {};
}

}  // namespace

Result<RefPtr<AddressSpace>> AddressSpace::fork() {
    auto child = TRY(create(layout_));
    child->break_start = break_start, child->break_end = break_end;
    child->stack_top = stack_top;
    child->arguments_start = arguments_start, child->arguments_end = arguments_end;
    child->environment_start = environment_start, child->environment_end = environment_end;
    child->code_start = code_start, child->code_end = code_end, child->data_start = data_start,
    child->data_end = data_end;
    child->vdso = vdso;
    child->map_top = map_top;
    child->stack_limit = stack_limit;
    child->address_limit = address_limit;
    child->barrier_registrations = barrier_registrations;
    child->data_limit = data_limit;
    child->any_sealed_ = any_sealed_;
    child->executable = executable;
    for (uint64_t word : auxiliary_vector) TRY(child->auxiliary_vector.push_back(word));
    Budget budget;
    const bool alone = reference_count() == 1;
    // The other threads come to rest in the Sentry before the first page is copied or shared: the child sees what they
    // wrote in order.
    if (user_.flush()) {
        interrupt_others();
    } else if (!alone) {
        for (Vma& vma : vmas_)
            if (!vma.no_fork && !vma.shared) user_.rights_gone(vma.start, vma.end, platform::Left::kReadOnly);
        flush();
    }
    UserAddress narrowed_start = 0, narrowed_end = 0;
    const auto tell_narrowed = [&] { user_.rights_gone(narrowed_start, narrowed_end, platform::Left::kReadOnly); };
    const auto narrowed = [&](UserAddress start, UserAddress end) {
        if (start != narrowed_end) {
            tell_narrowed();
            narrowed_start = start;
        }
        narrowed_end = end;
    };
    // From the top down: the stack first, where both sides write at once.
    const auto copied = [&]() -> Result<> {
        for (auto it = vmas_.rbegin(); it != vmas_.rend(); ++it) {
            Vma& vma = *it;
            if (vma.no_fork) continue;
            TRY(child->insert(TRY(copy_vma(vma))));
            if (!vma.wipe_on_fork) TRY(copy_entries(table_, child->table_, vma, budget, narrowed));
        }
        return {};
    }();
    tell_narrowed();
    if (copied.is_error()) {
        flush();
        return copied.error();
    }
    if (platform::UserSpace::caches_mappings() && alone)
        flush();
    else
        tell_platform_of_all(Tell::kWritable);
    child->tell_platform_of_all(Tell::kAll);
    TRY(child->user_.get_ready());
    return child;
}

}  // namespace kvmsbx::mm
