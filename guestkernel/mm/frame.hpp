#pragma once
// Page frames of guest RAM. Free RAM is kept as 2 MiB blocks, of which single frames are cut; RAM never touched since
// start (or given back to the host) is known to be zero and costs the host nothing. A frame has a count of users: page
// tables, page caches, kernel data.
#include <cstdint>

#include "common/base/result.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::mm {

using platform::kHugePageSize;
using platform::kPageSize;
using platform::Phys;

struct Frame {
    uint32_t references;
    // kCopied: a process has copied it on write after a fork.
    enum Flags : uint8_t { kFree = 1, kKnownZero = 2, kSlab = 4, kCopied = 8 };
    uint8_t flags;
    uint8_t order;  // of the free block or heap allocation that starts here
    uint16_t pad;
    uint32_t next, previous;  // free lists

    Phys phys() const;
    void* data() const { return platform::phys_to_virt(phys()); }  // kPageSize bytes
    void ref() { ++references; }
};
static_assert(sizeof(Frame) == 16);

enum class Zero : bool { kNo, kYes };

// One frame with one reference. ENOMEM when RAM (or the container's memory limit) is used up.
Result<Frame*> allocate_frame(Zero zero);
// Where pages lie that a frame should lie in a row with: what maps runs of frames then needs few entries. Nothing is
// reserved.
struct Place {
    uint64_t index = 0;            // of the page, in what maps it
    uint64_t first = 0, last = 0;  // pages around it that are likely to be wanted as well; `index` is one of them
    const Frame* below = nullptr;  // frames of the pages index - 1 and index + 1; null: they have none
    const Frame* above = nullptr;
};
// The same, in a row with its neighbours if that frame is free. Else at its place in an aligned run of free frames: one
// as large as the smallest aligned window with all those pages, which are likely to find the other frames free, or a
// shorter one where only whole 2 MiB blocks have that. Else any frame.
Result<Frame*> allocate_frame(Zero zero, const Place& place);
// 512 frames in a row, 2 MiB aligned, each with one reference. Zero::kYes costs nothing for RAM never touched.
Result<Frame*> allocate_huge(Zero zero);
// `count` (a power of two, at most 512) contiguous frames, naturally aligned, one reference each; for kernel stacks and
// tables.
Result<Frame*> allocate_contiguous(unsigned count, Zero zero);
void release(Frame* frame);  // drops a reference; the last one frees
void release_contiguous(Frame* first, unsigned count);
// Frames that were released while an application could still reach them (platform::holds_frames) come back into use.
void release_held_frames();
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

// The same where more is possible: mapped pages go as well, and written ones when they have been written back. The
// caller has nothing in hand that this could free: no entry of a page table, no frame without a reference. May block.
extern uint64_t (*evict)(uint64_t frames);
// For such a caller, before it needs memory: evicts some if little is free and much is in the caches of files.
void make_room();

struct MemoryStatistics {
    uint64_t total, free;  // bytes, within the container's limit
    uint64_t cached;       // bytes in page caches
    uint64_t of_files;     // those that can be had again from their files
    uint64_t machine;      // bytes of RAM, whatever the limit is
};
MemoryStatistics memory_statistics();
// For who may call evict(), too: calls make() again after evictions, as long as it gives ENOMEM and something goes.
template <typename Make>
auto with_evictions(Make make) {
    constexpr unsigned kMost = 16;
    constexpr uint64_t kFrames = 64;
    // What is left of files then is what runs just now: without it, nobody would come further.
    const auto can_go_on = [] { return evict && memory_statistics().of_files > kFrames * kPageSize; };
    auto made = make();
    for (unsigned i = 0; i < kMost && made.is_error() && made.error() == Errno::kNOMEM && can_go_on(); ++i) {
        if (evict(kFrames) == 0) break;
        made = make();
    }
    return made;
}
void count_cached(int64_t pages, bool of_file);  // PageCache alone calls it

// At start: RAM is [ram, ram + size), all of it below `first_free` is taken; `backed` bytes of it can be used before
// the VMM is asked for more.
void init_frames(Phys ram, uint64_t size, Phys first_free, uint64_t backed);
// The container's memory limit in bytes (0: none); allocations of frames beyond it fail with ENOMEM.
// kBlocks: the host counts whole blocks, which are bounded as well then.
enum class LimitOf : bool { kFrames, kBlocks };
void set_memory_limit(uint64_t bytes, LimitOf what = LimitOf::kFrames);
uint64_t memory_limit();          // 0: none
uint64_t peak_memory();           // the most that was in use at a time, in bytes
uint64_t failed_for_the_limit();  // how many allocations met the limit

}  // namespace kvmsbx::mm
