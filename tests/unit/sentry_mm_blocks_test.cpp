// Blocks of 2 MiB, in the page cache and in page tables, and eviction.
#include "tests/unit/sentry_mm.hpp"

namespace kvmsbx::mm {
namespace {

UserAddress map_file(AddressSpace& space, RefPtr<Mappable> file, uint64_t pages, uint32_t flags) {
    MapRequest request;
    request.length = pages * kPageSize;
    request.protection = kReadWrite;
    request.flags = flags;
    request.object = std::move(file);
    auto mapped = space.map(request);
    EXPECT_TRUE(mapped.is_ok());
    return mapped.value();
}

TEST(PageCacheTest, OrderedPagesLieInARow) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            PageCache cache;
            const auto add = [&](uint64_t index) {
                Frame* frame = cache.allocate(index, Zero::kYes, 3 * kBlockPages).release_value();
                ASSERT_TRUE(cache.insert(index, frame).is_ok());
            };
            for (uint64_t i = 0; i < 2 * kBlockPages + 10; ++i) add(i);
            EXPECT_NE(cache.find_block(kBlockPages), nullptr);
            EXPECT_EQ(cache.find_block(2 * kBlockPages), nullptr);
            EXPECT_EQ(cache.count_in_block(2 * kBlockPages), 10U);
            EXPECT_EQ(cache.drop_run(), kBlockPages - 10);
            EXPECT_EQ(cache.drop_run(), 0U);
            for (uint64_t i = 2 * kBlockPages + 10; i < 3 * kBlockPages + 1; ++i) add(i);
            cache.truncate(kBlockPages + 1);
            add(kBlockPages + 1);
            EXPECT_EQ(cache.find_block(kBlockPages), nullptr);
        }
        EXPECT_EQ(free_memory(), before);
    });
}

TEST(AddressSpaces, BlocksOfAFileAreGathered) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            auto file = make_ref<NumberedFile>(3 * kBlockPages).release_value();
            for (uint64_t i = 3 * kBlockPages; i-- > 0;) release(file->get_page(i, false).release_value());
            file->cache.set_dirty(7, true);
            auto space = AddressSpace::create().release_value();
            const UserAddress at = map_file(*space, file, 3 * kBlockPages, kMapPrivate);
            EXPECT_EQ(at % kHugePageSize, 0U);
            // A page that somebody holds cannot move.
            Frame* held = file->cache.find(kBlockPages + 3);
            held->ref();
            for (uint64_t i = 0; i < 3 * kBlockPages; ++i) EXPECT_EQ(get<uint32_t>(*space, at + i * kPageSize), i);
            EXPECT_EQ(file->cache.find(kBlockPages + 3), held);
            release(held);
            EXPECT_NE(file->cache.find_block(0), nullptr);
            EXPECT_EQ(file->cache.find_block(kBlockPages), nullptr);
            EXPECT_TRUE(file->cache.is_dirty(7));
            EXPECT_FALSE(file->cache.is_dirty(8));
            EXPECT_EQ(space->resident_pages(), 3 * kBlockPages);
            EXPECT_EQ(space->residency(at, at + kHugePageSize).writable, 0U);
            EXPECT_EQ(space->use_of(*space->find(at)).anonymous, 0U);
            // A copy on write splits the block, the file keeps its own.
            put(*space, at + 5 * kPageSize, 4711);
            EXPECT_EQ(get<uint32_t>(*space, at + 5 * kPageSize), 4711U);
            EXPECT_EQ(*static_cast<uint32_t*>(file->cache.find(5)->data()), 5U);
            EXPECT_EQ(get<uint32_t>(*space, at + 6 * kPageSize), 6U);
            auto child = space->fork().release_value();
            ASSERT_TRUE(space->unmap(at, 3 * kHugePageSize).is_ok());
            for (uint64_t i = 6; i < 3 * kBlockPages; ++i) EXPECT_EQ(get<uint32_t>(*child, at + i * kPageSize), i);
            file->unmap_pages(2 * kBlockPages + 9, ~0ULL, true);
            file->cache.truncate(2 * kBlockPages + 9);
            EXPECT_EQ(get<uint32_t>(*child, at + 2 * kHugePageSize), 2 * kBlockPages);
            EXPECT_EQ(get<uint32_t>(*child, at + 2 * kHugePageSize + 9 * kPageSize), 2 * kBlockPages + 9);
        }
        EXPECT_EQ(free_memory(), before);
    });
}

TEST(AddressSpaces, WritesToABlockOfAFileMarkItDirty) {
    in_sentry([] {
        auto file = make_ref<NumberedFile>(kBlockPages).release_value();
        for (uint64_t i = 0; i < kBlockPages; ++i) release(file->get_page(i, false).release_value());
        auto space = AddressSpace::create().release_value();
        const UserAddress at = map_file(*space, file, kBlockPages, kMapShared);
        EXPECT_EQ(get<uint32_t>(*space, at), 0U);
        const unsigned asked = file->asked;
        put(*space, at + 3 * kPageSize, 1);
        EXPECT_EQ(file->asked, asked + 1);
        ASSERT_TRUE(space->unmap(at, kHugePageSize).is_ok());
        EXPECT_EQ(file->dirty, std::vector<uint64_t>{3});
    });
}

TEST(AddressSpaces, SharedMemoryComesInBlocks) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            auto memory = make_ref<SharedMemory>(kBlockPages + 4).release_value();
            auto space = AddressSpace::create().release_value();
            const UserAddress at = map_file(*space, memory, kBlockPages + 4, kMapShared);
            put(*space, at + 8, 1);
            EXPECT_EQ(memory->resident_pages(), kBlockPages);
            put(*space, at + kHugePageSize, 2);
            EXPECT_EQ(memory->resident_pages(), kBlockPages + 1);
            auto child = space->fork().release_value();
            put(*child, at + kPageSize, 3);
            EXPECT_EQ(get<uint32_t>(*space, at + kPageSize), 3U);
            ASSERT_TRUE(memory->punch_pages(1, 1).is_ok());
            EXPECT_EQ(get<uint32_t>(*space, at + kPageSize), 0U);
            EXPECT_EQ(get<uint32_t>(*child, at + 8), 1U);
        }
        EXPECT_EQ(free_memory(), before);
    });
}

// That this vCPU loads its address space again stands for the flush on all of them.
bool flushes(AddressSpace& space, const std::function<void()>& act) {
    space.user_space().select(platform::cpu());
    platform::cpu().loaded_cr3 = platform::cpu().user_cr3;
    act();
    return !space.user_space().is_loaded(platform::cpu());
}

TEST(Eviction, TakesWhatWasNotUsedSinceTheLastRound) {
    in_sentry([] {
        for (uint64_t pages : {kBlockPages, uint64_t{40}}) {
            auto file = make_ref<NumberedFile>(pages).release_value();
            auto space = AddressSpace::create().release_value();
            const UserAddress at = map_file(*space, file, pages, kMapPrivate);
            for (uint64_t i = 0; i < pages; ++i) EXPECT_EQ(get<uint32_t>(*space, at + i * kPageSize), i);
            for (uint64_t i = 0; i < pages; ++i) EXPECT_EQ(get<uint32_t>(*space, at + i * kPageSize), i);
            EXPECT_EQ(file->evict(0, pages, kBlockPages), 0U);
            EXPECT_EQ(file->cache.page_count(), pages);
            const uint64_t before = memory_statistics().free;
            EXPECT_TRUE(flushes(*space, [&] { EXPECT_EQ(file->evict(0, pages, kBlockPages), pages); }));
            EXPECT_EQ(memory_statistics().free, before + pages * kPageSize);
            EXPECT_EQ(space->resident_pages(), 0U);
            for (uint64_t i = 0; i < pages; ++i) EXPECT_EQ(get<uint32_t>(*space, at + i * kPageSize), i);
        }
    });
}

TEST(Eviction, LeavesWhatIsWrittenCopiedHeldOrLocked) {
    in_sentry([] {
        constexpr uint64_t kPages = 100;
        auto file = make_ref<NumberedFile>(kPages).release_value();
        auto space = AddressSpace::create().release_value();
        const UserAddress at = map_file(*space, file, kPages, kMapPrivate);
        for (uint64_t i = 0; i < kPages; ++i) EXPECT_EQ(get<uint32_t>(*space, at + i * kPageSize), i);
        put(*space, at + 5 * kPageSize, 1005);
        const UserAddress shared = map_file(*space, file, kPages, kMapShared);
        put(*space, shared + 6 * kPageSize, 1006);
        file->cache.set_dirty(7, true);
        Frame* held = file->cache.find(8);
        held->ref();
        ASSERT_TRUE(space->lock(at + 9 * kPageSize, at + 10 * kPageSize, true, false).is_ok());
        EXPECT_EQ(file->evict(0, kPages, kBlockPages), 0U);
        EXPECT_EQ(file->evict(0, kPages, 10), 9U);
        EXPECT_EQ(file->evict(0, kPages, kBlockPages), kPages - 9 - 4);
        for (uint64_t index : {6, 7, 8, 9}) EXPECT_NE(file->cache.find(index), nullptr);
        EXPECT_EQ(file->cache.page_count(), 4U);
        EXPECT_EQ(file->cache.find(8), held);
        release(held);
        for (uint64_t i = 0; i < kPages; ++i)
            EXPECT_EQ(get<uint32_t>(*space, at + i * kPageSize), i == 5 || i == 6 ? 1000 + i : i);
        file->collect_dirty(0, kPages);
        EXPECT_EQ(file->dirty, std::vector<uint64_t>{6});
    });
}

TEST(AddressSpaces, PartOfALargePageIsUnmappedWithoutMemory) {
    in_sentry([] {
        warm_up();
        auto space = AddressSpace::create().release_value();
        const UserAddress at = map_anonymous(*space, 2 * kHugePageSize);
        const UserAddress block = (at + kHugePageSize - 1) & ~(kHugePageSize - 1);
        for (uint64_t i = 0; i < kBlockPages; ++i) put(*space, block + i * kPageSize, static_cast<uint32_t>(i));
        (void)free_memory();
        set_memory_limit(1);
        EXPECT_TRUE(space->unmap(block + 100 * kPageSize, 200 * kPageSize).is_ok());
        set_memory_limit(0);
        for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(get<uint32_t>(*space, block + i * kPageSize), i);
        for (uint64_t i = 300; i < kBlockPages; ++i) EXPECT_EQ(get<uint32_t>(*space, block + i * kPageSize), i);
        EXPECT_EQ(space->residency(block, block + kHugePageSize).pages, kBlockPages - 200);
    });
}

TEST(AddressSpaces, RightsThatGoAreFlushedWhateverFollows) {
    in_sentry([] {
        auto space = AddressSpace::create().release_value();
        const UserAddress at = map_anonymous(*space, 4 * kPageSize);
        for (uint64_t i = 0; i < 4; ++i) put(*space, at + i * kPageSize, 1);
        ASSERT_TRUE(space->lock(at + 2 * kPageSize, at + 3 * kPageSize, true, false).is_ok());
        constexpr int kDontneed = 4;
        EXPECT_TRUE(flushes(*space, [&] { EXPECT_TRUE(space->advise(at, 4 * kPageSize, kDontneed).is_error()); }));
        EXPECT_TRUE(flushes(*space, [&] { EXPECT_TRUE(space->fork().is_ok()); }));
        // The copy of a page that was mapped, beside the one that is written.
        auto file = make_ref<NumberedFile>(8).release_value();
        const UserAddress data = map_file(*space, file, 8, kMapPrivate);
        for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(get<uint32_t>(*space, data + i * kPageSize), i);
        ASSERT_TRUE(space->advise(data, kPageSize, kDontneed).is_ok());
        EXPECT_TRUE(flushes(*space, [&] { put(*space, data, 7); }));
        // A table without entries makes way for a 2 MiB page.
        const UserAddress area = map_anonymous(*space, 3 * kHugePageSize);
        ASSERT_TRUE(space->advise(area, 3 * kHugePageSize, 15).is_ok());
        const UserAddress block = (area + kHugePageSize - 1) & ~(kHugePageSize - 1);
        put(*space, block, 1);
        ASSERT_TRUE(space->advise(area, 3 * kHugePageSize, kDontneed).is_ok());
        ASSERT_TRUE(space->advise(area, 3 * kHugePageSize, 14).is_ok());
        EXPECT_TRUE(flushes(*space, [&] { put(*space, block, 2); }));
        EXPECT_EQ(space->residency(block, block + kHugePageSize).pages, kBlockPages);
    });
}

}  // namespace
}  // namespace kvmsbx::mm
