#pragma once
// What the tests of frames, page cache and address spaces share: RAM of this process, a file, and memory by address.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/mm/shared_memory.hpp"
#include "guestkernel/platform/test/machine.hpp"

namespace kvmsbx::mm {

inline constexpr uint32_t kReadWrite = kProtRead | kProtWrite;

// Free RAM without the page tables that are kept for reuse.
inline uint64_t free_memory() {
    drop_kept_tables();
    return memory_statistics().free;
}

inline void in_sentry(std::function<void()> body) {
    platform::test::Machine machine;
    machine.run(std::move(body));
}

inline UserAddress map_anonymous(AddressSpace& space, uint64_t length, uint32_t flags = kMapPrivate,
                                 UserAddress at = 0) {
    MapRequest request;
    request.address = at;
    request.length = length;
    request.protection = kReadWrite;
    request.flags = flags | kMapAnonymous | (at ? kMapFixed : 0);
    auto mapped = space.map(request);
    EXPECT_TRUE(mapped.is_ok());
    return mapped.value();
}

template <typename T>
T get(AddressSpace& space, UserAddress at) {
    auto value = UserIn<T>{at}.load(space);
    EXPECT_TRUE(value.is_ok());
    return value.value();
}

inline void put(AddressSpace& space, UserAddress at, uint32_t value) {
    EXPECT_TRUE(UserOut<uint32_t>{at}.store(space, value).is_ok());
}

// A file of `pages` pages, each filled with its number.
class NumberedFile final : public Mappable {
  public:
    explicit NumberedFile(uint64_t pages) : pages_(pages) {}
    Result<Frame*> get_page(uint64_t index, bool) override {
        if (index >= pages_) return Errno::kNXIO;
        ++asked;
        if (!cache.find(index)) {
            Frame* frame = TRY(allocate_frame(Zero::kYes));
            *static_cast<uint32_t*>(frame->data()) = static_cast<uint32_t>(index);
            TRY(cache.insert(index, frame));
        }
        Frame* frame = cache.find(index);
        frame->ref();
        return frame;
    }
    Frame* cached_page(uint64_t index) override { return cache.find(index); }
    PageCache* page_cache() override { return &cache; }
    void mark_dirty(uint64_t index) override { dirty.push_back(index); }
    PageCache cache;
    std::vector<uint64_t> dirty;
    unsigned asked = 0;

  private:
    uint64_t pages_;
};

// What is made once and kept (the zero page, the heap's first slabs) is there before a test counts free memory.
inline void warm_up() {
    auto space = AddressSpace::create().release_value();
    const UserAddress at = map_anonymous(*space, 4096);
    EXPECT_EQ(get<uint32_t>(*space, at), 0U);
    auto child = space->fork().release_value();
}

}  // namespace kvmsbx::mm
