// What a stub has mapped (HostMap) against a model of single pages, with and without memory for its entries.
#include "guestkernel/platform/process/host_map.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <new>
#include <random>

namespace {
unsigned refuse_one_in;  // allocations that may fail; 0: none does
std::minstd_rand refusals(1);
}  // namespace

// The compiler sees malloc and free through these and takes them for a mix-up.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

// The map's entries are the only objects that are made in this way here.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
    if (refuse_one_in != 0 && refusals() % refuse_one_in == 0) return nullptr;
    return malloc(size);
}
void* operator new(size_t size) {
    void* at = malloc(size);
    if (at == nullptr) throw std::bad_alloc();
    return at;
}
void operator delete(void* at) noexcept { free(at); }
void operator delete(void* at, size_t) noexcept { free(at); }

namespace kvmsbx::platform::process {
namespace {

constexpr uint64_t kBase = 0x7000'0000'0000, kPages = 64;
constexpr unsigned kSteps = 100'000;

struct Page {
    Phys phys = 0;  // 0: not mapped
    bool writable = false, executable = false;
    bool begins = false;  // an entry of the map
};

// The stub: what the orders that the callbacks lead to leave mapped.
class Model {
  public:
    Page& page(uint64_t address) { return pages_[(address - kBase) / kPageSize]; }
    bool is_inside(uint64_t start, uint64_t end) const {
        return start >= kBase && start < end && end <= kBase + kPages * kPageSize;
    }

    // An entry begins at `address`, if it is in one.
    void cut(uint64_t address) {
        if (address < kBase + kPages * kPageSize && page(address).phys) page(address).begins = true;
    }

    void add(const Run& run) {
        cut(run.address + run.length);
        for (uint64_t offset = 0; offset < run.length; offset += kPageSize)
            page(run.address + offset) = {run.phys + offset, run.writable, run.executable, offset == 0};
        join(run.address);
        join(run.address + run.length);
    }

    unsigned entries() const {
        unsigned count = 0;
        for (const Page& page : pages_) count += page.phys && page.begins;
        return count;
    }

  private:
    void join(uint64_t address) {
        if (address == kBase || address == kBase + kPages * kPageSize) return;
        const Page &before = page(address - kPageSize), &behind = page(address);
        if (before.phys && before.phys + kPageSize == behind.phys && before.writable == behind.writable &&
            before.executable == behind.executable)
            page(address).begins = false;
    }
    std::array<Page, kPages> pages_{};
};

class HostMapTest : public testing::Test {
  protected:
    struct Range {
        uint64_t start, end;
    };
    Range any_range() {
        const uint64_t first = random() % kPages, length = 1 + random() % std::min<uint64_t>(kPages - first, 12);
        return {kBase + first * kPageSize, kBase + (first + length) * kPageSize};
    }

    // Few physical places, so that neighbours often follow each other there as well.
    platform::Run any_run() {
        const Range range = any_range();
        const Phys phys = 0x4000'0000 + (range.start - kBase) + (random() % 3) * 0x100'0000;
        return {range.start, range.end - range.start, phys, random() % 2 == 0, random() % 4 == 0};
    }

    void remove(uint64_t start, uint64_t end) {
        std::array<bool, kPages> told{};
        map.remove(start, end, [&](uint64_t from, uint64_t to) {
            ASSERT_TRUE(model.is_inside(from, to));
            if (refuse_one_in == 0) { ASSERT_TRUE(start <= from && to <= end); }
            for (uint64_t at = from; at < to; at += kPageSize) {
                ASSERT_NE(model.page(at).phys, 0u) << "told of what was not mapped";
                ASSERT_FALSE(std::exchange(told[(at - kBase) / kPageSize], true)) << "told twice";
                model.page(at).phys = 0;
            }
        });
        for (uint64_t at = start; at < end; at += kPageSize) ASSERT_EQ(model.page(at).phys, 0u) << "not told of";
        model.cut(end);
    }

    void make_read_only(uint64_t start, uint64_t end) {
        // Only entries that are writable are cut.
        for (uint64_t at : {start, end})
            if (at < kBase + kPages * kPageSize && model.page(at).writable) model.cut(at);
        map.make_read_only(start, end, [&](const platform::Run& run) {
            ASSERT_TRUE(model.is_inside(run.address, run.address + run.length));
            if (refuse_one_in == 0) { ASSERT_TRUE(start <= run.address && run.address + run.length <= end); }
            ASSERT_FALSE(run.writable);
            for (uint64_t offset = 0; offset < run.length; offset += kPageSize) {
                Page& page = model.page(run.address + offset);
                ASSERT_EQ(page.phys, run.phys + offset);
                ASSERT_TRUE(page.writable);
                ASSERT_EQ(page.executable, run.executable);
                page.writable = false;
            }
        });
        for (uint64_t at = start; at < end; at += kPageSize)
            ASSERT_FALSE(model.page(at).phys && model.page(at).writable) << "still writable";
    }

    void add(const platform::Run& run) {
        const bool added = map.add(run, [&](uint64_t from, uint64_t to) {
            ASSERT_TRUE(model.is_inside(from, to));
            for (uint64_t at = from; at < to; at += kPageSize) model.page(at).phys = 0;
            model.cut(to);
        });
        if (added) return model.add(run);
        ASSERT_NE(refuse_one_in, 0u);
        // The caller unmaps the range then.
        for (uint64_t offset = 0; offset < run.length; offset += kPageSize) model.page(run.address + offset).phys = 0;
    }

    void step() {
        const Range range = any_range();
        switch (random() % 8) {
            case 0:
            case 1: return remove(range.start, range.end);
            case 2:
            case 3: return make_read_only(range.start, range.end);
            default: return add(any_run());
        }
    }

    void run_steps() {
        for (unsigned i = 0; i < kSteps && !HasFatalFailure(); i++) {
            SCOPED_TRACE("step " + std::to_string(i));
            step();
            if (refuse_one_in == 0) { ASSERT_EQ(map.count(), model.entries()); }
            ASSERT_EQ(map.empty(), map.count() == 0);
            if (i % 64 != 0) continue;
            // What the map does not know of any more, nobody would ever take out of the stub.
            const unsigned refuse = std::exchange(refuse_one_in, 0);
            remove(kBase, kBase + kPages * kPageSize);
            ASSERT_TRUE(map.empty());
            refuse_one_in = refuse;
        }
    }

    void TearDown() override { refuse_one_in = 0; }

    HostMap map;
    Model model;
    std::minstd_rand random{20261129};
};

TEST_F(HostMapTest, SaysWhatWasMapped) { run_steps(); }

TEST_F(HostMapTest, ForgetsNothingWithoutMemory) {
    refuse_one_in = 4;
    run_steps();
}

TEST_F(HostMapTest, ForgetsNothingWithoutAnyMemory) {
    add({kBase, 8 * kPageSize, 0x4000'0000, true, false});
    refuse_one_in = 1;
    remove(kBase + 2 * kPageSize, kBase + 4 * kPageSize);
    refuse_one_in = 0;
    remove(kBase, kBase + kPages * kPageSize);
}

TEST_F(HostMapTest, ForgetsNothingWhenAPageIsReplacedWithoutMemory) {
    add({kBase, 8 * kPageSize, 0x4000'0000, true, false});
    refuse_one_in = 1;
    add({kBase + 2 * kPageSize, kPageSize, 0x5000'0000, true, false});
    refuse_one_in = 0;
    remove(kBase, kBase + kPages * kPageSize);
}

TEST_F(HostMapTest, JoinsNeighbours) {
    for (uint64_t page : {0, 2, 4, 3, 1}) {
        const uint64_t offset = page * kPageSize;
        add({kBase + offset, kPageSize, 0x4000'0000 + offset, true, true});
    }
    EXPECT_EQ(map.count(), 1u);
    add({kBase + 2 * kPageSize, kPageSize, 0x4000'0000 + 2 * kPageSize, false, true});
    EXPECT_EQ(map.count(), 3u);
    map.clear();
    EXPECT_TRUE(map.empty());
}

}  // namespace
}  // namespace kvmsbx::platform::process
