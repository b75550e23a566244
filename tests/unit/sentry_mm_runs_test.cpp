// Frames in a row: which ones the allocator gives for a place, and how few runs the pages of small areas are.
#include "guestkernel/platform/process/host_map.hpp"
#include "tests/unit/sentry_mm.hpp"

namespace kvmsbx::mm {
namespace {

constexpr uint64_t kWindow = 16 * kPageSize;

Frame* allocate_at(const Place& place) { return allocate_frame(Zero::kNo, place).release_value(); }

// Free memory in single frames, as it is after a while.
class Fragments {
  public:
    Fragments() {
        for (unsigned i = 0; i < kFrames; ++i) frames_.push_back(allocate_frame(Zero::kNo).release_value());
        for (unsigned i = 0; i < kFrames; i += 2) release(frames_[i]);
    }
    ~Fragments() {
        for (unsigned i = 1; i < kFrames; i += 2) release(frames_[i]);
    }

  private:
    static constexpr unsigned kFrames = 2048;
    std::vector<Frame*> frames_;
};

// What a stub would have mapped of [start, end) after a fault of each of its pages.
unsigned count_mappings(AddressSpace& space, UserAddress start, UserAddress end) {
    platform::process::HostMap map;
    for (UserAddress at = start; at < end; at += kPageSize) {
        char* const page = space.translate(at, Access::kRead);
        EXPECT_NE(page, nullptr);
        EXPECT_TRUE(map.add({at, kPageSize, platform::virt_to_phys(page), true, false}, [](uint64_t, uint64_t) {}));
    }
    return map.count();
}

TEST(FramesInARow, NeighboursAreTakenWhereTheyAreFree) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        Frame* const first = allocate_at({5, 0, 15, nullptr, nullptr});
        EXPECT_EQ(first->phys() / kPageSize % 16, 5U);
        Frame* const above = allocate_at({6, 6, 6, first, nullptr});
        EXPECT_EQ(above, first + 1);
        Frame* const below = allocate_at({4, 4, 4, nullptr, first});
        EXPECT_EQ(below, first - 1);
        // Both neighbours of these are taken.
        Frame* const elsewhere = allocate_at({5, 5, 5, below, above});
        EXPECT_TRUE(elsewhere < below || elsewhere > above);
        for (Frame* frame : {first, above, below, elsewhere}) {
            EXPECT_EQ(frame->references, 1U);
            release(frame);
        }
        EXPECT_EQ(free_memory(), before);
        Frame* const again = allocate_at({5, 5, 5, first - 1, nullptr});
        EXPECT_EQ(again, first);
        release(again);
    });
}

TEST(FramesInARow, EveryFrameOfABlockCanBeTakenInAnyOrder) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        Frame* const block = allocate_huge(Zero::kNo).release_value();
        memset(block->data(), 0xaa, kHugePageSize);
        release_contiguous(block, kBlockPages);
        for (unsigned i = 0; i < kBlockPages; ++i) {
            const unsigned index = i * 37 % kBlockPages;
            Frame* const frame =
                allocate_frame(Zero::kYes, {index + 1, index + 1, index + 1, block + index - 1}).value();
            ASSERT_EQ(frame, block + index);
            EXPECT_EQ(static_cast<uint64_t*>(frame->data())[7], 0U);
        }
        EXPECT_EQ(free_memory(), before - kHugePageSize);
        for (unsigned i = 0; i < kBlockPages; ++i) release(block + i);
        EXPECT_EQ(free_memory(), before);
        // They are one block again.
        Frame* const whole = allocate_huge(Zero::kNo).release_value();
        EXPECT_EQ(whole, block);
        release_contiguous(whole, kBlockPages);
    });
}

TEST(FramesInARow, TheLastFrameIsFoundAndTheLimitHolds) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        std::vector<Frame*> frames;
        {
            const Fragments fragments;
            const MemoryStatistics now = memory_statistics();
            set_memory_limit(now.total - now.free + 64 * kPageSize);
            for (;;) {
                auto frame =
                    allocate_frame(Zero::kNo, {frames.size(), 0, 15, frames.empty() ? nullptr : frames.back()});
                if (frame.is_error()) break;
                frames.push_back(frame.value());
            }
            EXPECT_EQ(frames.size(), 64U);
            EXPECT_EQ(memory_statistics().free, 0U);
            set_memory_limit(0);
        }
        for (;;) {
            auto frame = allocate_frame(Zero::kNo, {frames.size(), 0, 15, nullptr, nullptr});
            if (frame.is_error()) break;
            frames.push_back(frame.value());
        }
        EXPECT_EQ(memory_statistics().free, 0U);
        for (Frame* frame : frames) release(frame);
        EXPECT_EQ(free_memory(), before);
    });
}

TEST(FramesInARow, SmallAreasAreFewMappings) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            const Fragments fragments;
            auto space = AddressSpace::create().release_value();
            constexpr unsigned kAreas = 12, kPages = 16;
            const UserAddress all = map_anonymous(*space, 2 * kAreas * kWindow);
            unsigned mappings = 0;
            for (unsigned i = 0; i < kAreas; ++i) {
                const UserAddress area = all + 2 * i * kWindow;
                // Something else allocates between them.
                EXPECT_TRUE(space->unmap(area + kWindow, kWindow).is_ok());
                for (unsigned page = 0; page < kPages; ++page) put(*space, area + page * kPageSize, page);
                mappings += count_mappings(*space, area, area + kWindow);
            }
            EXPECT_LE(mappings, kAreas * kPages / 8);
            EXPECT_EQ(platform::virt_to_phys(space->translate(all, Access::kRead)) % kWindow, 0U);
        }
        EXPECT_EQ(free_memory(), before);
    });
}

TEST(FramesInARow, AGrowingAreaAndAStackAreFewMappings) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            const Fragments fragments;
            auto space = AddressSpace::create().release_value();
            constexpr uint64_t kPages = 160, kSize = kPages * kPageSize;
            // Not aligned, and too small for a block.
            const UserAddress heap = map_anonymous(*space, kSize, kMapPrivate, 0x5000'0000 + 5 * kPageSize);
            const UserAddress top = 0x6000'0000 + 3 * kPageSize;
            map_anonymous(*space, kPageSize, kMapPrivate | kMapGrowsdown, top - kPageSize);
            for (uint64_t at = 0; at < kSize; at += kPageSize) {
                put(*space, heap + at, 1);
                put(*space, top - kPageSize - at, 1);
            }
            EXPECT_LE(count_mappings(*space, heap, heap + kSize), kPages / 8);
            EXPECT_LE(count_mappings(*space, top - kSize, top), kPages / 8);
        }
        EXPECT_EQ(free_memory(), before);
    });
}

TEST(FramesInARow, CopiesOfAForkAreFewMappings) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            const Fragments fragments;
            auto space = AddressSpace::create().release_value();
            const UserAddress area = map_anonymous(*space, kWindow);
            for (unsigned page = 0; page < 16; ++page) put(*space, area + page * kPageSize, page);
            auto child = space->fork().release_value();
            for (unsigned page = 0; page < 16; ++page) put(*child, area + page * kPageSize, page + 100);
            EXPECT_LE(count_mappings(*child, area, area + kWindow), 4U);
            for (unsigned page = 0; page < 16; ++page) EXPECT_EQ(get<uint32_t>(*space, area + page * kPageSize), page);
        }
        EXPECT_EQ(free_memory(), before);
    });
}

TEST(FramesInARow, PagesOfAFileAreFewMappings) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            const Fragments fragments;
            PageCache first, second;  // read in turn
            constexpr uint64_t kPages = 128, kRead = 32;
            for (uint64_t begin = 0; begin < kPages; begin += kRead)
                for (PageCache* cache : {&first, &second})
                    for (uint64_t index = begin; index < begin + kRead; ++index) {
                        Frame* frame = cache->allocate(index, Zero::kNo, begin + kRead - 1).release_value();
                        ASSERT_TRUE(cache->insert(index, frame).is_ok());
                    }
            for (PageCache* cache : {&first, &second}) {
                unsigned runs = 1;
                for (uint64_t index = 1; index < kPages; ++index)
                    runs += cache->find(index) != cache->find(index - 1) + 1;
                EXPECT_LE(runs, kPages / 16);
            }
        }
        EXPECT_EQ(free_memory(), before);
    });
}

// A page that a child had to copy is the next child's own from the start.
TEST(Fork, CopiesWhatTheLastChildCopied) {
    in_sentry([] {
        warm_up();
        auto space = AddressSpace::create().release_value();
        constexpr uint64_t kPages = 64;  // more than are copied because they were written
        const UserAddress area = map_anonymous(*space, kPages * kPageSize);
        for (unsigned page = 0; page < kPages; ++page) put(*space, area + page * kPageSize, page);
        const UserAddress last = area + (kPages - 1) * kPageSize;
        {
            auto child = space->fork().release_value();
            EXPECT_EQ(child->residency(last, last + kPageSize).writable, 0U);
            put(*child, last, 1);
        }
        {
            auto child = space->fork().release_value();
            EXPECT_EQ(child->residency(last, last + kPageSize).writable, 1U);
            EXPECT_EQ(child->residency(area, last).writable, 0U);
            put(*child, last, 2);
        }
        EXPECT_EQ(get<uint32_t>(*space, last), kPages - 1);
        // Not where the child may not write.
        EXPECT_TRUE(space->protect(last, kPageSize, kProtRead).is_ok());
        auto child = space->fork().release_value();
        EXPECT_EQ(child->residency(last, last + kPageSize).writable, 0U);
        EXPECT_EQ(get<uint32_t>(*child, last), kPages - 1);
    });
}

}  // namespace
}  // namespace kvmsbx::mm
