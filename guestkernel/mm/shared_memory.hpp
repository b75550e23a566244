#pragma once
// The object behind MAP_SHARED | MAP_ANONYMOUS, and behind shared memory that others keep (System V segments, rings).
#include "guestkernel/mm/page_cache.hpp"

namespace kvmsbx::mm {

class SharedMemory : public Mappable {
  public:
    explicit SharedMemory(uint64_t pages) : pages_(pages) {}
    Result<Frame*> get_page(uint64_t index, bool for_write) override;
    Frame* cached_page(uint64_t index) override { return cache_.find(index); }
    PageCache* page_cache() override { return &cache_; }
    bool ignores_writes() const override { return true; }
    uint64_t resident_pages() const { return cache_.page_count(); }
    Result<> punch_pages(uint64_t first, uint64_t last) override;

  private:
    void make_block(uint64_t first);
    PageCache cache_;
    uint64_t pages_;
};

}  // namespace kvmsbx::mm
