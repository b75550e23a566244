#pragma once
// The object behind MAP_SHARED | MAP_ANONYMOUS.
#include "guestkernel/mm/page_cache.hpp"

namespace kvmsbx::mm {

class SharedMemory final : public Mappable {
  public:
    explicit SharedMemory(uint64_t pages) : pages_(pages) {}
    Result<Frame*> get_page(uint64_t index, bool for_write) override;
    Frame* cached_page(uint64_t index) override { return cache_.find(index); }

  private:
    PageCache cache_;
    uint64_t pages_;
};

}  // namespace kvmsbx::mm
