// The Sentry's heap: operator new and delete. Small objects come from slabs (one page, objects of one size), larger
// ones are powers of two of pages.
#include <bit>
#include <cstddef>
#include <new>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/cpu.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::mm {
namespace {

// Lies at the start of each slab page.
struct Slab {
    Slab *next, *previous;
    void* free;
    uint16_t used, capacity;
    uint16_t size_class;
};
constexpr size_t kSlabHeader = 64;

constexpr uint16_t kSizes[] = {16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 672, 1008, 1344, 2016};
constexpr unsigned kClasses = sizeof kSizes / sizeof kSizes[0];
Slab* partial[kClasses];

unsigned class_of(size_t size) {
    for (unsigned i = 0; i < kClasses; ++i)
        if (size <= kSizes[i]) return i;
    return kClasses;
}

void link(Slab* slab) {
    Slab*& head = partial[slab->size_class];
    slab->previous = nullptr;
    slab->next = head;
    if (head) head->previous = slab;
    head = slab;
}

void unlink(Slab* slab) {
    if (slab->next) slab->next->previous = slab->previous;
    if (slab->previous)
        slab->previous->next = slab->next;
    else
        partial[slab->size_class] = slab->next;
}

Slab* new_slab(unsigned size_class) {
    auto frame = allocate_frame(Zero::kNo);
    if (frame.is_error()) return nullptr;
    frame.value()->flags |= Frame::kSlab;
    char* page = static_cast<char*>(frame.value()->data());
    Slab* slab = new (page) Slab{nullptr, nullptr, nullptr, 0, 0, static_cast<uint16_t>(size_class)};
    const size_t size = kSizes[size_class];
    for (size_t at = kSlabHeader; at + size <= kPageSize; at += size) {
        *new (page + at) void* = slab->free;
        slab->free = page + at;
        ++slab->capacity;
    }
    link(slab);
    return slab;
}

void* allocate_small(unsigned size_class) {
    Slab* slab = partial[size_class];
    if (!slab && !(slab = new_slab(size_class))) return nullptr;
    void* object = slab->free;
    slab->free = *static_cast<void**>(object);
    if (++slab->used == slab->capacity) unlink(slab);
    return object;
}

void free_small(Slab* slab, void* object) {
    VERIFY(slab->used > 0);
    *static_cast<void**>(object) = slab->free;
    slab->free = object;
    if (slab->used-- == slab->capacity) link(slab);
    if (slab->used == 0 && (slab->next || slab->previous)) {
        unlink(slab);
        Frame* frame = frame_of(platform::virt_to_phys(slab));
        frame->flags = 0;
        release(frame);
    }
}

}  // namespace

void* heap_allocate(size_t size) {
    const unsigned size_class = class_of(size);
    if (size_class < kClasses) return allocate_small(size_class);
    const size_t pages = std::bit_ceil((size + kPageSize - 1) / kPageSize);
    if (pages > 512) return nullptr;
    auto frame = allocate_contiguous(static_cast<unsigned>(pages), Zero::kNo);
    if (frame.is_error()) return nullptr;
    frame.value()->order = static_cast<uint8_t>(std::countr_zero(pages));
    return frame.value()->data();
}

void heap_free(void* object) {
    if (!object) return;
    const Phys phys = platform::virt_to_phys(object);
    Frame* frame = frame_of(phys);
    if (frame->flags & Frame::kSlab)
        free_small(static_cast<Slab*>(platform::phys_to_virt(phys & ~(kPageSize - 1))), object);
    else
        release_contiguous(frame, 1U << frame->order);
}

}  // namespace kvmsbx::mm

namespace kvmsbx::platform::process {

void* allocate_pages(unsigned count) {
    auto first = mm::allocate_contiguous(count, mm::Zero::kYes);
    return first.is_ok() ? first.value()->data() : nullptr;
}
void free_pages(void* pages, unsigned count) { mm::release_contiguous(mm::frame_of(virt_to_phys(pages)), count); }

}  // namespace kvmsbx::platform::process

namespace kvmsbx::sched {

char* allocate_stack() {
    auto frame = mm::allocate_contiguous(platform::kStackSize / platform::kPageSize, mm::Zero::kNo);
    return frame.is_ok() ? static_cast<char*>(frame.value()->data()) : nullptr;
}

void free_stack(char* stack) {
    mm::release_contiguous(mm::frame_of(platform::virt_to_phys(stack)), platform::kStackSize / platform::kPageSize);
}

}  // namespace kvmsbx::sched
