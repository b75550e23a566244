// Frames, page cache and address spaces, on RAM of this process.
#include "tests/unit/sentry_mm.hpp"

#include <map>

namespace kvmsbx::mm {
namespace {

TEST(Frames, ComeBackWhole) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        std::vector<Frame*> frames;
        for (int i = 0; i < 3000; ++i) frames.push_back(allocate_frame(Zero::kNo).release_value());
        Frame* huge = allocate_huge(Zero::kYes).release_value();
        EXPECT_EQ(huge->phys() % kHugePageSize, 0U);
        for (unsigned i = 0; i < 512; ++i) EXPECT_EQ(static_cast<uint64_t*>(huge[i].data())[7], 0U);
        release_contiguous(huge, 512);
        for (Frame* frame : frames) release(frame);
        EXPECT_EQ(free_memory(), before);
    });
}

TEST(Frames, ZeroedEvenWhenUsedBefore) {
    in_sentry([] {
        Frame* frame = allocate_frame(Zero::kNo).release_value();
        memset(frame->data(), 0xaa, kPageSize);
        release(frame);
        std::vector<Frame*> held;
        for (int i = 0; i < 64; ++i) {
            held.push_back(allocate_frame(Zero::kYes).release_value());
            EXPECT_EQ(static_cast<uint64_t*>(held.back()->data())[100], 0U);
        }
        for (Frame* each : held) release(each);
    });
}

TEST(Frames, LimitGivesEnomem) {
    in_sentry([] {
        const MemoryStatistics now = memory_statistics();
        set_memory_limit(now.total - now.free + 64 * kPageSize);
        std::vector<Frame*> frames;
        for (;;) {
            auto frame = allocate_frame(Zero::kNo);
            if (frame.is_error()) {
                EXPECT_EQ(frame.error(), Errno::kNOMEM);
                break;
            }
            frames.push_back(frame.value());
        }
        EXPECT_LE(frames.size(), 64U);
        for (Frame* frame : frames) release(frame);
        set_memory_limit(0);
    });
}

TEST(PageCacheTest, SparseIndicesTruncateAndNext) {
    in_sentry([] {
        PageCache cache;
        const uint64_t indices[] = {0, 5, 63, 64, 4095, 4096, 1'000'000, 1ULL << 40};
        for (uint64_t index : indices)
            ASSERT_TRUE(cache.insert(index, allocate_frame(Zero::kNo).release_value()).is_ok());
        EXPECT_EQ(cache.page_count(), 8U);
        for (uint64_t index : indices) EXPECT_NE(cache.find(index), nullptr);
        EXPECT_EQ(cache.find(6), nullptr);
        EXPECT_EQ(cache.next(6), 63U);
        EXPECT_EQ(cache.next(4097), 1'000'000U);
        cache.set_dirty(64, true);
        EXPECT_TRUE(cache.is_dirty(64));
        EXPECT_NE(cache.find(64), nullptr);
        cache.truncate(4096);
        EXPECT_EQ(cache.page_count(), 5U);
        EXPECT_EQ(cache.next(4096), ~0ULL);
        cache.remove(5);
        EXPECT_EQ(cache.find(5), nullptr);
        EXPECT_EQ(cache.page_count(), 4U);
    });
}

TEST(AddressSpaceTest, AnonymousMemoryIsZeroThenKeepsWhatIsWritten) {
    in_sentry([] {
        auto space = AddressSpace::create().release_value();
        for (uint64_t length : {uint64_t{4096}, uint64_t{100 * 4096}, uint64_t{8} << 20}) {
            const UserAddress at = map_anonymous(*space, length);
            for (uint64_t offset = 0; offset < length; offset += 4096)
                EXPECT_EQ(get<uint32_t>(*space, at + offset), 0U);
            for (uint64_t offset = 0; offset < length; offset += 4096)
                put(*space, at + offset, static_cast<uint32_t>(offset));
            for (uint64_t offset = 0; offset < length; offset += 4096)
                EXPECT_EQ(get<uint32_t>(*space, at + offset), offset);
        }
    });
}

TEST(AddressSpaceTest, LargeAreasUseHugePages) {
    in_sentry([] {
        auto space = AddressSpace::create().release_value();
        const UserAddress at = map_anonymous(*space, 4 << 20);
        EXPECT_EQ(at % kHugePageSize, 0U);
        put(*space, at + 12345 * 4, 7);
        EXPECT_EQ(space->resident_pages(), 512U);
        ASSERT_TRUE(space->unmap(at + 4096, 4096).is_ok());  // splits the 2 MiB page
        EXPECT_EQ(space->resident_pages(), 511U);
        EXPECT_EQ(get<uint32_t>(*space, at + 12345 * 4), 7U);
        EXPECT_EQ(UserIn<uint32_t>{at + 4096}.load(*space).error(), Errno::kFAULT);
    });
}

TEST(AddressSpaceTest, ForkCopiesOnWriteBothWays) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            auto parent = AddressSpace::create().release_value();
            const UserAddress at = map_anonymous(*parent, 4 << 20);
            const UserAddress shared = map_anonymous(*parent, 4096, kMapPrivate);
            for (uint32_t i = 0; i < 1024; ++i) put(*parent, at + i * 4096, i);
            auto child = parent->fork().release_value();
            put(*parent, at, 1000);
            put(*child, at + 4096, 2000);
            EXPECT_EQ(get<uint32_t>(*child, at), 0U);
            EXPECT_EQ(get<uint32_t>(*parent, at + 4096), 1U);
            for (uint32_t i = 2; i < 1024; ++i) EXPECT_EQ(get<uint32_t>(*child, at + i * 4096), i);
            (void)shared;
        }
        EXPECT_EQ(free_memory(), before);
    });
}

TEST(AddressSpaceTest, SharedAnonymousMemoryIsSeenByTheChild) {
    in_sentry([] {
        auto parent = AddressSpace::create().release_value();
        MapRequest request;
        request.length = 3 * 4096;
        request.protection = kReadWrite;
        request.flags = kMapShared;
        request.object = make_ref<SharedMemory>(3).release_value();
        const UserAddress at = parent->map(request).release_value();
        put(*parent, at, 1);
        auto child = parent->fork().release_value();
        put(*child, at + 4096, 2);
        put(*parent, at, 3);
        EXPECT_EQ(get<uint32_t>(*parent, at + 4096), 2U);
        EXPECT_EQ(get<uint32_t>(*child, at), 3U);
        EXPECT_EQ(parent->futex_key(at, true).value(), child->futex_key(at, true).value());
        EXPECT_NE(parent->futex_key(at, false).value(), child->futex_key(at, false).value());
    });
}

TEST(AddressSpaceTest, PrivateFileMappingsAreCopiedAndNeighboursMapped) {
    in_sentry([] {
        auto file = make_ref<NumberedFile>(100).release_value();
        for (uint64_t i = 0; i < 50; ++i) release(file->get_page(i, false).value());
        file->asked = 0;
        auto space = AddressSpace::create().release_value();
        MapRequest request;
        request.length = 120 * 4096;
        request.protection = kReadWrite;
        request.flags = kMapPrivate;
        request.object = file;
        const UserAddress at = space->map(request).release_value();
        EXPECT_EQ(get<uint32_t>(*space, at + 3 * 4096), 3U);
        EXPECT_GE(space->resident_pages(), 32U);
        put(*space, at + 3 * 4096, 99);
        EXPECT_EQ(get<uint32_t>(*space, at + 3 * 4096), 99U);
        EXPECT_EQ(*static_cast<uint32_t*>(file->cache.find(3)->data()), 3U);
        EXPECT_EQ(space->fault(at + 110 * 4096, Access::kRead).error(), Errno::kNXIO);
        file->unmap_pages(2, ~0ULL, false);  // truncation of the cache: the private copy stays
        EXPECT_EQ(get<uint32_t>(*space, at + 3 * 4096), 99U);
        file->unmap_pages(2, ~0ULL, true);
        EXPECT_EQ(get<uint32_t>(*space, at + 3 * 4096), 3U);
        space = nullptr;
        EXPECT_EQ(file->reference_count(), 2U);  // ours and the request's
    });
}

TEST(AddressSpaceTest, SharedFileWritesAreReportedDirty) {
    in_sentry([] {
        auto file = make_ref<NumberedFile>(10).release_value();
        auto space = AddressSpace::create().release_value();
        MapRequest request;
        request.length = 10 * 4096;
        request.protection = kReadWrite;
        request.flags = kMapShared;
        request.object = file;
        const UserAddress at = space->map(request).release_value();
        EXPECT_EQ(get<uint32_t>(*space, at + 5 * 4096), 5U);
        EXPECT_TRUE(file->dirty.empty());
        put(*space, at + 5 * 4096, 55);
        EXPECT_EQ(*static_cast<uint32_t*>(file->cache.find(5)->data()), 55U);
        ASSERT_TRUE(space->unmap(at, 10 * 4096).is_ok());
        EXPECT_EQ(file->dirty, (std::vector<uint64_t>{5}));
    });
}

TEST(AddressSpaceTest, ProtectionIsObeyedAndTakenBack) {
    in_sentry([] {
        auto space = AddressSpace::create().release_value();
        const UserAddress at = map_anonymous(*space, 4 * 4096);
        put(*space, at, 1);
        ASSERT_TRUE(space->protect(at, 4096, kProtRead).is_ok());
        EXPECT_EQ(space->fault(at, Access::kWrite).error(), Errno::kACCES);
        EXPECT_EQ(get<uint32_t>(*space, at), 1U);
        ASSERT_TRUE(space->protect(at, 4096, 0).is_ok());
        EXPECT_EQ(UserIn<uint32_t>{at}.load(*space).error(), Errno::kFAULT);
        ASSERT_TRUE(space->protect(at, 4096, kReadWrite).is_ok());
        put(*space, at, 2);
        EXPECT_EQ(space->protect(at, 16 * 4096, kProtRead).error(), Errno::kNOMEM);
        EXPECT_EQ(space->protect(at + 1, 4096, kProtRead).error(), Errno::kINVAL);
    });
}

TEST(AddressSpaceTest, RemapGrowsMovesAndShrinks) {
    in_sentry([] {
        auto space = AddressSpace::create().release_value();
        const UserAddress at = map_anonymous(*space, 2 * 4096, kMapPrivate, 0x10000000);
        map_anonymous(*space, 4096, kMapPrivate, 0x10000000 + 2 * 4096);
        ASSERT_TRUE(space->protect(0x10000000 + 2 * 4096, 4096, kProtRead).is_ok());
        put(*space, at, 1);
        put(*space, at + 4096, 2);
        EXPECT_EQ(space->remap(at, 2 * 4096, 8 * 4096, 0, 0).error(), Errno::kNOMEM);
        const UserAddress moved = space->remap(at, 2 * 4096, 8 * 4096, 1, 0).release_value();
        EXPECT_NE(moved, at);
        EXPECT_EQ(get<uint32_t>(*space, moved), 1U);
        EXPECT_EQ(get<uint32_t>(*space, moved + 4096), 2U);
        EXPECT_EQ(space->find(at), nullptr);
        EXPECT_EQ(space->remap(moved, 8 * 4096, 4096, 0, 0).value(), moved);
        EXPECT_EQ(space->find(moved + 4096), nullptr);
    });
}

TEST(AddressSpaceTest, BreakGrowsAndShrinks) {
    in_sentry([] {
        auto space = AddressSpace::create().release_value();
        space->break_start = space->break_end = 0x600000;
        EXPECT_EQ(space->set_break(0, ~0ULL), 0x600000U);
        EXPECT_EQ(space->set_break(0x601234, ~0ULL), 0x601234U);
        put(*space, 0x601230, 5);
        EXPECT_EQ(space->set_break(0x600100, ~0ULL), 0x600100U);
        EXPECT_EQ(UserIn<uint32_t>{0x601230}.load(*space).error(), Errno::kFAULT);
        EXPECT_EQ(space->set_break(0x700000, 0x1000), 0x600100U);
    });
}

TEST(AddressSpaceTest, StackGrowsToItsLimitOnly) {
    in_sentry([] {
        auto space = AddressSpace::create().release_value();
        MapRequest request;
        request.address = 0x7000'0000'0000 - 4096;
        request.length = 4096;
        request.protection = kReadWrite;
        request.flags = kMapPrivate | kMapAnonymous | kMapFixed | kMapGrowsdown;
        request.kind = Vma::Kind::kStack;
        ASSERT_TRUE(space->map(request).is_ok());
        space->stack_limit = 1 << 20;
        put(*space, 0x7000'0000'0000 - (512 << 10), 1);
        EXPECT_EQ(space->fault(0x7000'0000'0000 - (1 << 20) - 4096, Access::kWrite).error(), Errno::kFAULT);
    });
}

TEST(AddressSpaceTest, FixedMapReplacesAndNoreplaceRefuses) {
    in_sentry([] {
        auto space = AddressSpace::create().release_value();
        map_anonymous(*space, 4 * 4096, kMapPrivate, 0x20000000);
        put(*space, 0x20001000, 9);
        map_anonymous(*space, 4096, kMapPrivate, 0x20001000);
        EXPECT_EQ(get<uint32_t>(*space, 0x20001000), 0U);
        MapRequest request;
        request.address = 0x20003000;
        request.length = 2 * 4096;
        request.flags = kMapPrivate | kMapAnonymous | kMapFixedNoreplace;
        EXPECT_EQ(space->map(request).error(), Errno::kEXIST);
        request.address = 0x20004000;
        EXPECT_EQ(space->map(request).value(), 0x20004000U);
        request.address = platform::user_end - 4096;
        EXPECT_EQ(space->map(request).error(), Errno::kNOMEM);
    });
}

// Random maps, unmaps, writes and forks against a model.
TEST(AddressSpaceTest, AgreesWithAModel) {
    in_sentry([] {
        warm_up();
        const uint64_t before = free_memory();
        {
            auto space = AddressSpace::create().release_value();
            std::map<uint64_t, uint32_t> model;  // page -> value, for mapped pages
            uint32_t random = 12345;
            auto next = [&] { return random = random * 1664525 + 1013904223, random >> 8; };
            constexpr UserAddress kBase = 0x4000'0000;
            for (int step = 0; step < 4000; ++step) {
                const uint64_t first = next() % 2048, count = 1 + next() % (next() % 8 == 0 ? 1100 : 9);
                switch (next() % 6) {
                    case 0:
                        map_anonymous(*space, count * 4096, kMapPrivate, kBase + first * 4096);
                        for (uint64_t i = first; i < first + count; ++i) model[i] = 0;
                        break;
                    case 1:
                        ASSERT_TRUE(space->unmap(kBase + first * 4096, count * 4096).is_ok());
                        for (uint64_t i = first; i < first + count; ++i) model.erase(i);
                        break;
                    case 2: space = space->fork().release_value(); break;
                    case 3: {
                        const bool whole = [&] {
                            for (uint64_t i = first; i < first + count; ++i)
                                if (!model.count(i)) return false;
                            return true;
                        }();
                        EXPECT_EQ(space->advise(kBase + first * 4096, count * 4096, 4).is_ok(), whole);
                        for (uint64_t i = first; i < first + count; ++i)
                            if (model.count(i)) model[i] = 0;
                        break;
                    }
                    default:
                        if (!model.count(first)) {
                            EXPECT_EQ(UserIn<uint32_t>{kBase + first * 4096}.load(*space).error(), Errno::kFAULT);
                            break;
                        }
                        EXPECT_EQ(get<uint32_t>(*space, kBase + first * 4096), model[first]);
                        model[first] = next();
                        put(*space, kBase + first * 4096, model[first]);
                }
            }
            for (auto [page, value] : model) EXPECT_EQ(get<uint32_t>(*space, kBase + page * 4096), value);
        }
        EXPECT_EQ(free_memory(), before);
    });
}

}  // namespace
}  // namespace kvmsbx::mm
