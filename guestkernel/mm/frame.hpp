#pragma once
// Page frames of guest RAM. Free RAM is kept as 2 MiB blocks, of which single frames are cut; RAM never touched since
// start (or given back to the host) is known to be zero and costs the host nothing. A frame has a count of users: page
// tables, page caches, kernel data.
#include <cstdint>

#include "common/base/result.hpp"
#include "guestkernel/arch/arch.hpp"

namespace kvmsbx::mm {

using arch::kHugePageSize;
using arch::kPageSize;
using arch::Phys;

struct Frame {
    uint32_t references;
    enum Flags : uint8_t { kFree = 1, kKnownZero = 2, kSlab = 4 };
    uint8_t flags;
    uint8_t order;  // of the free block or heap allocation that starts here
    uint16_t pad;
    uint32_t next, previous;  // free lists

    Phys phys() const;
    void* data() const { return arch::phys_to_virt(phys()); }  // kPageSize bytes
    void ref() { ++references; }
};
static_assert(sizeof(Frame) == 16);

enum class Zero : bool { kNo, kYes };

// One frame with one reference. ENOMEM when RAM (or the container's memory limit) is used up.
Result<Frame*> allocate_frame(Zero zero);
// 512 frames in a row, 2 MiB aligned, each with one reference. Zero::kYes costs nothing for RAM never touched.
Result<Frame*> allocate_huge(Zero zero);
// `count` (a power of two, at most 512) contiguous frames, naturally aligned, one reference each; for kernel stacks and
// tables.
Result<Frame*> allocate_contiguous(unsigned count, Zero zero);
void release(Frame* frame);  // drops a reference; the last one frees
void release_contiguous(Frame* first, unsigned count);
// The page of zeroes that reads of untouched anonymous memory share. Not counted as resident.
Frame* zero_frame();
Frame* frame_of(Phys phys);
// Frames by index, for links between those that one owner holds (Frame::next is its to use while allocated).
inline constexpr uint32_t kNoFrame = ~0U;
uint32_t index_of_frame(const Frame* frame);
Frame* frame_at(uint32_t index);

// Asked before an allocation fails: frees what can be had again (clean cached file pages), about `frames` of them, and
// gives how many went. It may be called from any allocation, so it neither blocks nor allocates. Set by the file
// systems; null: nothing can be freed.
extern uint64_t (*reclaim)(uint64_t frames);

struct MemoryStatistics {
    uint64_t total, free;  // bytes, within the container's limit
    uint64_t cached;       // bytes in page caches
    uint64_t machine;      // bytes of RAM, whatever the limit is
};
MemoryStatistics memory_statistics();
void count_cached(int64_t pages);  // PageCache alone calls it

// At start: RAM is [ram, ram + size), all of it below `first_free` is taken; `backed` bytes of it can be used before
// the VMM is asked for more.
void init_frames(Phys ram, uint64_t size, Phys first_free, uint64_t backed);
// The container's memory limit in bytes (0: none); allocations of frames beyond it fail with ENOMEM.
void set_memory_limit(uint64_t bytes);
uint64_t memory_limit();          // 0: none
uint64_t peak_memory();           // the most that was in use at a time, in bytes
uint64_t failed_for_the_limit();  // how many allocations met the limit

}  // namespace kvmsbx::mm
