// fork(2)'s copy of an address space: page tables are copied, not pages.
#include "guestkernel/lib/assert.hpp"
#include "guestkernel/mm/address_space.hpp"

namespace kvmsbx::mm {

namespace {

Result<OwnPtr<Vma>> copy_vma(const Vma& vma) {
    auto copy = TRY(make_own<Vma>());
    copy->start = vma.start, copy->end = vma.end;
    copy->protection = vma.protection, copy->max_protection = vma.max_protection;
    copy->shared = vma.shared, copy->grows_down = vma.grows_down, copy->wipe_on_fork = vma.wipe_on_fork, copy->no_huge = vma.no_huge;
    copy->kind = vma.kind;
    copy->object = vma.object;
    copy->first_page = vma.first_page;
    copy->file = vma.file;
    return copy;
}

// Copies the entries of [start, end), one table at a time; those of private memory become read-only on both sides.
Result<> copy_entries(PageTable& from, PageTable& to, const Vma& vma) {
    for (UserAddress at = from.next_populated(vma.start, vma.end); at < vma.end; at = from.next_populated(at, vma.end)) {
        const UserAddress block_end = (at & ~(kHugePageSize - 1)) + kHugePageSize;
        Pte& huge = *from.find_huge(at);
        if (huge.huge()) TRY(from.split_huge(huge));
        const UserAddress stop = vma.end < block_end ? vma.end : block_end;
        Pte* source = from.find(at);
        Pte* target = nullptr;
        for (; at < stop; at += kPageSize, ++source, target = target ? target + 1 : nullptr) {
            if (!source->present()) continue;
            if (!target) target = TRY(to.obtain(at));
            if (!vma.shared) source->value &= ~kPteWrite;
            source->frame()->ref();
            *target = *source;
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
    child->code_start = code_start, child->code_end = code_end, child->data_start = data_start, child->data_end = data_end;
    child->vdso = vdso;
    child->map_top = map_top;
    child->stack_limit = stack_limit;
    child->address_limit = address_limit;
    child->executable = executable;
    for (uint64_t word : auxiliary_vector) TRY(child->auxiliary_vector.push_back(word));
    for (Vma& vma : vmas_) {
        if (vma.no_fork) continue;
        TRY(child->insert(TRY(copy_vma(vma))));
        if (!vma.wipe_on_fork) TRY(copy_entries(table_, child->table_, vma));
    }
    flush();
    return child;
}

}  // namespace kvmsbx::mm
