// A binary buddy allocator over 2 MiB blocks. Blocks above `fresh` were never handed out: they are zero and the host
// has no memory behind them.
#include "guestkernel/mm/frame.hpp"

#include <cstring>

#include "guestkernel/lib/assert.hpp"
#include "guestkernel/mm/page_cache.hpp"
#include "guestkernel/mm/shortage.hpp"
#include "guestkernel/platform/address_space.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/sched.hpp"

namespace kvmsbx::mm {
namespace {

constexpr unsigned kMaxOrder = 9;
constexpr uint32_t kNone = ~0U;
// Order of the shortest run that is taken before a whole block is cut: the host has 2 MiB of memory for each of those.
constexpr unsigned kShortRun = 4;
// Whole free blocks beyond this many go back to the host, kReleaseDelay after the last change, kReleaseBatch at a time.
constexpr uint32_t kKeepBlocks = 16;
constexpr uint32_t kReleaseBatch = 32;
constexpr sched::Nanoseconds kReleaseDelay = 100'000'000;
constexpr sched::Nanoseconds kShortageTime = 1'000'000'000;

Frame* frames;
Phys ram_start;
uint32_t frame_count;
uint32_t fresh;   // index of the first block never handed out
uint32_t backed;  // index of the first frame that the VMM has to be asked for (kBackMemory)
uint32_t free_lists[kMaxOrder + 1];
uint64_t free_frames, cached_frames, file_frames, limit_frames = ~0ULL;
uint32_t first_fresh;  // where `fresh` began
LimitOf limit_of = LimitOf::kFrames;
uint64_t reserved_frames;  // the Sentry's image and the array of frames: nobody's memory
uint64_t peak_frames, limit_hits;
sched::Nanoseconds short_until;  // whole free blocks go back to the host at once; 0: it is not short of memory
uint32_t dirty_free_blocks;      // free blocks of the highest order that are not known to be zero

uint32_t index_of(const Frame* frame) { return static_cast<uint32_t>(frame - frames); }

void push(uint32_t index, unsigned order) {
    Frame& frame = frames[index];
    frame.flags |= Frame::kFree;
    frame.order = static_cast<uint8_t>(order);
    frame.previous = kNone;
    frame.next = free_lists[order];
    if (frame.next != kNone) frames[frame.next].previous = index;
    free_lists[order] = index;
    if (order == kMaxOrder && !(frame.flags & Frame::kKnownZero)) ++dirty_free_blocks;
}

void unlink(uint32_t index) {
    Frame& frame = frames[index];
    if (frame.next != kNone) frames[frame.next].previous = frame.previous;
    if (frame.previous != kNone)
        frames[frame.previous].next = frame.next;
    else
        free_lists[frame.order] = frame.next;
    frame.flags &= static_cast<uint8_t>(~Frame::kFree);
    if (frame.order == kMaxOrder && !(frame.flags & Frame::kKnownZero)) --dirty_free_blocks;
}

// For whom the last blocks within a limit are: frames that have to lie in a row have no other chance once memory is in
// pieces.
enum class Need : bool { kAnyFrame, kFramesInARow };

// How many frames in blocks may be handed out.
uint64_t most_fresh(Need need) {
    constexpr uint64_t kBlock = 1U << kMaxOrder;
    if (limit_frames == ~0ULL || limit_of == LimitOf::kFrames) return ~0ULL;
    return need == Need::kAnyFrame ? limit_frames : limit_frames + limit_frames / 32 + 2 * kBlock;
}

// Is the next fresh block there, and has it memory behind it?
bool fresh_available(Need need) {
    constexpr uint32_t kBlock = 1U << kMaxOrder;
    if (fresh >= frame_count || fresh - first_fresh >= most_fresh(need)) return false;
    if (fresh + kBlock <= backed) return true;
    const auto bytes = platform::back_memory((uint64_t{fresh} + kBlock) * kPageSize);
    if (bytes.is_error()) return false;
    backed = static_cast<uint32_t>(bytes.value() / kPageSize);
    return true;
}

// The first free block of `order`, or of the next larger one there is, of those that are not whole 2 MiB.
uint32_t find_free_rest(unsigned order) {
    for (unsigned from = order; from < kMaxOrder; ++from)
        if (free_lists[from] != kNone) return free_lists[from];
    return kNone;
}

// The same of all, kNone when there is none.
uint32_t find_free(unsigned order, Need need = Need::kAnyFrame) {
    if (const uint32_t rest = find_free_rest(order); rest != kNone) return rest;
    if (free_lists[kMaxOrder] != kNone) return free_lists[kMaxOrder];
    if (!fresh_available(need)) return kNone;
    const uint32_t index = fresh;
    fresh += 1U << kMaxOrder;
    frames[index].flags = Frame::kKnownZero;
    push(index, kMaxOrder);
    return index;
}

// Cuts the block of `order` that contains `index` out of the free block at `head`; the rest stays free.
uint32_t carve(uint32_t head, uint32_t index, unsigned order) {
    unlink(head);
    const uint8_t zero = frames[head].flags & Frame::kKnownZero;
    for (unsigned half = frames[head].order; half > order;) {
        const uint32_t upper = head + (1U << --half);
        const uint32_t rest = index < upper ? upper : head;
        if (index >= upper) head = upper;
        frames[rest].flags = zero;
        push(rest, half);
    }
    frames[head].flags = zero;
    return head;
}

// Takes a block of `order`, kNone when there is none: from the end, so that runs can grow from the start.
uint32_t take(unsigned order) {
    const bool in_a_row = order > 0 && order < kMaxOrder;
    const uint32_t head = find_free(order, in_a_row ? Need::kFramesInARow : Need::kAnyFrame);
    return head == kNone ? kNone : carve(head, head + (1U << frames[head].order) - 1, order);
}

// Takes this very frame. False: it is not free.
bool take_exactly(uint32_t index) {
    if (index >= fresh) return false;
    for (unsigned order = 0; order <= kMaxOrder; ++order) {
        const uint32_t head = index & ~((1U << order) - 1);
        if (!(frames[head].flags & Frame::kFree) || frames[head].order != order) continue;
        carve(head, index, 0);
        return true;
    }
    return false;
}

// Takes the frame of a place, kNone when there is none.
uint32_t take_at(const Place& place) {
    if (place.below && take_exactly(index_of(place.below) + 1)) return index_of(place.below) + 1;
    if (place.above && take_exactly(index_of(place.above) - 1)) return index_of(place.above) - 1;
    // The smallest aligned window that holds all of the pages.
    const uint64_t differ = place.first ^ place.last;
    const unsigned wanted = differ == 0 ? 0 : 64 - static_cast<unsigned>(__builtin_clzll(differ));
    unsigned order = wanted > kMaxOrder ? kMaxOrder : wanted;
    uint32_t head = find_free_rest(order);
    for (unsigned shorter = order; head == kNone && shorter > kShortRun;)
        if (head = find_free_rest(--shorter); head != kNone) order = shorter;
    while (head == kNone) {
        head = find_free(order);
        if (head == kNone && order-- == 0) return kNone;
    }
    return carve(head, head + static_cast<uint32_t>(place.index & ((1U << order) - 1)), 0);
}

void give_back(uint32_t index, unsigned order);

// A whole free block goes back to the host. False: it was not its memory, or the host does not take it.
bool release_block(uint32_t index) {
    if (frames[index].flags & Frame::kKnownZero) return false;
    if (platform::release_memory(frames[index].phys(), kHugePageSize).is_error()) return false;
    frames[index].flags |= Frame::kKnownZero;
    --dirty_free_blocks;
    return true;
}

bool host_is_short() {
    if (short_until != 0 && sched::now() >= short_until) short_until = 0;
    return short_until != 0;
}

struct ReleaseTimer final : sched::Timer {
    void fire() override {
        uint32_t released = 0;
        for (uint32_t index = free_lists[kMaxOrder];
             index != kNone && dirty_free_blocks > kKeepBlocks && released < kReleaseBatch;) {
            const uint32_t next = frames[index].next;
            if (release_block(index)) ++released;
            index = next;
        }
        if (released == kReleaseBatch) arm(sched::now() + kReleaseDelay / 10);
    }
};
ReleaseTimer& release_timer() {
    static ReleaseTimer timer;
    return timer;
}

void give_back(uint32_t index, unsigned order) {
    free_frames += 1U << order;
    uint8_t zero = 0;
    while (order < kMaxOrder) {
        const uint32_t buddy = index ^ (1U << order);
        if (!(frames[buddy].flags & Frame::kFree) || frames[buddy].order != order) break;
        unlink(buddy);
        index &= ~(1U << order);
        ++order;
    }
    frames[index].flags = zero;
    push(index, order);
    if (order != kMaxOrder) return;
    if (host_is_short())
        release_block(index);
    else if (dirty_free_blocks > kKeepBlocks && !release_timer().armed())
        release_timer().arm(sched::now() + kReleaseDelay);
}

uint64_t used_frames() { return frame_count - free_frames - reserved_frames; }

// Hands out the block of `order` that take() gives.
template <typename Take>
Result<Frame*> hand_out(unsigned order, Zero zero, Take take) {
    if (used_frames() + (1U << order) > limit_frames) {
        ++limit_hits;
        return Errno::kNOMEM;
    }
    const uint32_t index = take();
    if (index == kNone) return Errno::kNOMEM;
    free_frames -= 1U << order;
    if (used_frames() > peak_frames) peak_frames = used_frames();
    Frame* first = &frames[index];
    const bool known_zero = first->flags & Frame::kKnownZero;
    for (uint32_t i = 0; i < 1U << order; ++i) {
        first[i].references = 1;
        first[i].flags = 0;
    }
    if (zero == Zero::kYes && !known_zero) memset(first->data(), 0, kPageSize << order);
    return first;
}

Result<Frame*> allocate_now(unsigned order, Zero zero) {
    return hand_out(order, zero, [order] { return take(order); });
}

Result<Frame*> allocate(unsigned order, Zero zero) {
    constexpr uint64_t kReclaimAtLeast = 256;
    Result<Frame*> first = allocate_now(order, zero);
    if (first.is_ok()) return first;
    if (drop_runs() > 0) first = allocate_now(order, zero);
    if (first.is_ok() || !reclaim) return first;
    const uint64_t wanted = uint64_t{2} << order;
    if (reclaim(wanted > kReclaimAtLeast ? wanted : kReclaimAtLeast) == 0) return first;
    return allocate_now(order, zero);
}

}  // namespace

uint64_t (*reclaim)(uint64_t frames);
uint64_t (*evict)(uint64_t frames);

Phys Frame::phys() const { return ram_start + uint64_t{index_of(this)} * kPageSize; }

Frame* frame_of(Phys phys) {
    DCHECK(phys >= ram_start && (phys - ram_start) / kPageSize < frame_count);
    return &frames[(phys - ram_start) / kPageSize];
}

uint32_t index_of_frame(const Frame* frame) { return index_of(frame); }
Frame* frame_at(uint32_t index) { return &frames[index]; }

Result<Frame*> allocate_frame(Zero zero) { return allocate(0, zero); }
Result<Frame*> allocate_frame(Zero zero, const Place& place) {
    if (used_frames() < limit_frames)
        if (Result<Frame*> frame = hand_out(0, zero, [&place] { return take_at(place); }); frame.is_ok()) return frame;
    return allocate(0, zero);
}
// No reclaim for these: small frames do as well.
Result<Frame*> allocate_huge(Zero zero) { return allocate_now(kMaxOrder, zero); }
Result<Frame*> allocate_contiguous(unsigned count, Zero zero) {
    VERIFY(count > 0 && count <= 512 && (count & (count - 1)) == 0);
    return allocate(static_cast<unsigned>(__builtin_ctz(count)), zero);
}

namespace {

uint32_t held = kNone;  // released while platform::holds_frames, linked by `next`

void free_block(uint32_t index, unsigned order) {
    if (!platform::holds_frames) [[likely]]
        return give_back(index, order);
    frames[index].order = static_cast<uint8_t>(order);
    frames[index].next = held;
    held = index;
}

}  // namespace

void release_held_frames() {
    while (held != kNone && !platform::holds_frames) {
        const uint32_t index = held;
        held = frames[index].next;
        give_back(index, frames[index].order);
    }
}

void release(Frame* frame) {
    VERIFY(frame->references > 0);
    if (--frame->references == 0) free_block(index_of(frame), 0);
}

void release_contiguous(Frame* first, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        VERIFY(first[i].references == 1);
        first[i].references = 0;
    }
    free_block(index_of(first), static_cast<unsigned>(__builtin_ctz(count)));
}

MemoryStatistics memory_statistics() {
    const uint64_t there = frame_count - reserved_frames, used = used_frames();
    const uint64_t total = limit_frames < there ? limit_frames : there;
    return {total * kPageSize, (total > used ? total - used : 0) * kPageSize, cached_frames * kPageSize,
            file_frames * kPageSize, there * kPageSize};
}
void count_cached(int64_t pages, bool of_file) {
    cached_frames += static_cast<uint64_t>(pages);
    if (of_file) file_frames += static_cast<uint64_t>(pages);
}

void make_room() {
    constexpr uint64_t kFrames = 1024;
    constexpr sched::Nanoseconds kPause = 100'000'000;  // after it has found little
    static sched::Nanoseconds paused_until;
    const MemoryStatistics memory = memory_statistics();
    if (memory.free >= memory.total / 16 || memory.of_files <= memory.total / 16) return;
    if (!evict || sched::now() < paused_until) return;
    if (evict(kFrames) < kFrames / 8) paused_until = sched::now() + kPause;
}

void init_frames(Phys ram, uint64_t size, Phys first_free, uint64_t backed_bytes) {
    ram_start = ram;
    backed = static_cast<uint32_t>(backed_bytes / kPageSize);
    frame_count = static_cast<uint32_t>(size / kPageSize);
    for (uint32_t& list : free_lists) list = kNone;
    // The array ends with a block, so that what is free besides whole blocks lies in front of it, where the host has
    // memory for the image's block anyway: an idle sandbox touches few blocks.
    const uint64_t array_size = (uint64_t{frame_count} * sizeof(Frame) + kPageSize - 1) & ~(kPageSize - 1);
    const auto first = static_cast<uint32_t>((first_free - ram + kPageSize - 1) / kPageSize);
    const auto array_pages = static_cast<uint32_t>(array_size / kPageSize);
    fresh = (first + array_pages + 511) & ~511U;
    frames = static_cast<Frame*>(platform::phys_to_virt(ram + uint64_t{fresh - array_pages} * kPageSize));
    first_fresh = fresh;
    free_frames = frame_count - fresh;
    for (uint32_t index = first; index < fresh - array_pages; ++index) {
        frames[index].references = 0;
        give_back(index, 0);
    }
    reserved_frames = frame_count - free_frames;
}

void note_shortage_of_the_host() { short_until = sched::now() + kShortageTime; }
void set_memory_limit(uint64_t bytes, LimitOf what) {
    limit_frames = bytes ? bytes / kPageSize : ~0ULL;
    limit_of = what;
}
uint64_t memory_limit() { return limit_frames == ~0ULL ? 0 : limit_frames * kPageSize; }
uint64_t peak_memory() { return peak_frames * kPageSize; }
uint64_t failed_for_the_limit() { return limit_hits; }

}  // namespace kvmsbx::mm
