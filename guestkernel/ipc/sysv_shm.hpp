#pragma once
// Shared memory segments (shmget(2)). A Segment is the object that its attachments map; each VMA that maps it counts as
// one attachment, as on Linux, so fork, exec and exit need no care here.
#include "guestkernel/ipc/sysv.hpp"
#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/mm/shared_memory.hpp"

namespace kvmsbx::ipc::sysv {

// The segments that a thread has created: with the thread it goes.
class Creations;

class Segment final : public mm::SharedMemory, public Identity {
  public:
    static constexpr uint32_t kDestroy = 01000, kLocked = 02000;  // marks in mode
    Segment(const auth::Credentials& creator, int32_t key, uint32_t flags, uint64_t bytes);
    ~Segment() override;
    uint64_t pages() const { return (size + mm::kPageSize - 1) / mm::kPageSize; }

    const uint64_t size;  // bytes
    uint64_t attachments = 0;
    int64_t attached = 0, detached = 0;     // times
    int32_t creator = 0, last = 0;          // processes
    const Creations* created_by = nullptr;  // null: its thread has ended. Only to compare

  protected:
    void mapping_added() override;
    void mapping_removed() override;
};

extern Table<Segment> segments;
uint64_t total_segment_pages();
// With kernel.shm_rmid_forced set: segments that nobody has attached and whose creators have ended go.
void destroy_orphans();

struct SegmentStatus {  // struct shmid64_ds
    UserPermissions permissions;
    uint64_t size;
    int64_t attached, detached, changed;
    int32_t creator, last;
    uint64_t attachments, unused[2];
};
static_assert(sizeof(SegmentStatus) == 112);

Result<int32_t> get_segment(const auth::Credentials& who, int32_t key, uint64_t size, uint32_t flags);
// shmat(2): where it was attached.
Result<mm::UserAddress> attach(mm::AddressSpace& space, const auth::Credentials& who, int32_t id,
                               mm::UserAddress address, uint32_t flags);
Result<> detach(mm::AddressSpace& space, mm::UserAddress address);
SegmentStatus status_of(const Segment& segment);
Result<> remove_segment(const auth::Credentials& who, int32_t id);
Result<> set_segment(const auth::Credentials& who, int32_t id, const UserPermissions& wanted);
// SHM_LOCK and SHM_UNLOCK: nothing here is ever swapped. memlock_limit: RLIMIT_MEMLOCK.
Result<> lock_segment(const auth::Credentials& who, int32_t id, bool lock, uint64_t memlock_limit);

}  // namespace kvmsbx::ipc::sysv
