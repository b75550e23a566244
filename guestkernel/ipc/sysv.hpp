#pragma once
// System V IPC (sysvipc(7)): what segments, semaphore sets and message queues share.
//
// Model. Each kind has a Table of its objects. An object's id is its index in the table and a sequence number, so that
// the id of a removed object is not soon that of another. The table holds a reference; calls that block hold one of
// their own, and find `removed` set when they come back (EIDRM). A segment that is removed while attached stays in its
// table without a key until the last mapping goes. Permissions are those of ipcperms() of Linux: mode bits by owner,
// creator and groups, CAP_IPC_OWNER. There is one IPC namespace; its limits can be set by sysctl.
#include <cstdint>

#include "guestkernel/auth/credentials.hpp"
#include "guestkernel/lib/ref.hpp"
#include "guestkernel/lib/vector.hpp"

namespace kvmsbx::ipc::sysv {

// Flags of *get(2) and of operations.
inline constexpr uint32_t kCreate = 01000, kExclusive = 02000, kNoWait = 04000;
// Commands of *ctl(2) that all kinds have.
inline constexpr int32_t kRmid = 0, kSet = 1, kStat = 2, kInfo = 3;
inline constexpr uint32_t kMayRead = 0444, kMayWrite = 0222, kMayExecute = 0111;

struct UserPermissions {  // struct ipc64_perm
    int32_t key;
    uint32_t uid, gid, creator_uid, creator_gid, mode;
    uint16_t sequence, pad;
    uint32_t pad2;
    uint64_t unused[2];
};
static_assert(sizeof(UserPermissions) == 48);

// Whom an object belongs to, and its number.
struct Identity {
    int32_t key = 0, id = -1;
    auth::Uid uid = 0, creator_uid = 0;
    auth::Gid gid = 0, creator_gid = 0;
    uint32_t mode = 0;  // permission bits, and marks of the kind
    int64_t changed = 0;
    bool removed = false;

    Identity(const auth::Credentials& creator, int32_t key, uint32_t flags);
    // access: kMayRead and kin, or the mode bits that *get(2) asks for. EACCES.
    Result<> check_access(const auth::Credentials& who, uint32_t access) const;
    Result<> check_owner(const auth::Credentials& who) const;  // EPERM
    UserPermissions shown() const;
    // IPC_SET. EINVAL.
    Result<> set(const UserPermissions& wanted);
};

int64_t seconds_now();  // CLOCK_REALTIME
int32_t current_process_id();

// T derives from RefCounted and Identity.
template <typename T>
class Table {
  public:
    static constexpr unsigned kIndexBits = 15;
    static constexpr int32_t kSequences = 1 << (31 - kIndexBits);

    RefPtr<T> with_key(int32_t key) const {
        for (const RefPtr<T>& object : objects_)
            if (object && object->key == key) return object;
        return nullptr;
    }
    RefPtr<T> at(int32_t index) const {
        if (index < 0 || static_cast<size_t>(index) >= objects_.size()) return nullptr;
        return objects_[static_cast<size_t>(index)];
    }
    // EINVAL: there is none.
    Result<RefPtr<T>> find(int32_t id) const {
        RefPtr<T> object = id < 0 ? nullptr : at(id & ((1 << kIndexBits) - 1));
        if (!object || object->id != id) return Errno::kINVAL;
        return object;
    }
    // By index for the *_STAT commands, else by id. EINVAL.
    Result<RefPtr<T>> find(int32_t id, bool by_index) const {
        if (!by_index) return find(id);
        RefPtr<T> object = id < 0 ? nullptr : at(id & ((1 << kIndexBits) - 1));
        if (!object) return Errno::kINVAL;
        return object;
    }
    // Gives it an id. ENOSPC: `limit` of them are there.
    Result<int32_t> add(RefPtr<T> object, int32_t limit) {
        if (used_ >= limit) return Errno::kNOSPC;
        size_t index = 0;
        while (index < objects_.size() && objects_[index]) ++index;
        if (index >> kIndexBits) return Errno::kNOSPC;
        if (index == objects_.size()) TRY(objects_.push_back(nullptr));
        if (static_cast<int32_t>(index) <= last_index_) sequence_ = (sequence_ + 1) % kSequences;
        last_index_ = static_cast<int32_t>(index);
        object->id = sequence_ << kIndexBits | last_index_;
        objects_[index] = object;
        ++used_;
        return object->id;
    }
    void remove(T& object) {
        RefPtr<T> keep(object);
        object.removed = true;
        objects_[static_cast<size_t>(object.id & ((1 << kIndexBits) - 1))] = nullptr;
        --used_;
        while (!objects_.empty() && !objects_.back()) objects_.pop_back();
    }
    int32_t used() const { return used_; }
    // Of the objects; what the *_INFO commands return.
    int32_t highest_index() const { return objects_.empty() ? 0 : static_cast<int32_t>(objects_.size()) - 1; }
    // visit may not block.
    template <typename Visit>
    void for_each(Visit visit) const {
        for (const RefPtr<T>& object : objects_)
            if (object) visit(*object);
    }

  private:
    Vector<RefPtr<T>> objects_;
    int32_t used_ = 0, last_index_ = -1, sequence_ = 0;
};

// The common part of *get(2). check(object): what an existing one must fulfil. make(): a new object.
template <typename T, typename Check, typename Make>
Result<int32_t> get(Table<T>& table, const auth::Credentials& who, int32_t key, uint32_t flags, Check check,
                    Make make) {
    if (key != 0) {
        if (RefPtr<T> found = table.with_key(key)) {
            if ((flags & kCreate) && (flags & kExclusive)) return Errno::kEXIST;
            TRY(check(*found));
            TRY(found->check_access(who, flags & 0777));
            return found->id;
        }
        if (!(flags & kCreate)) return Errno::kNOENT;
    }
    return make();
}

// A line of four numbers or one, as sysctl shows and takes limits.
struct Limits {
    uint64_t shm_max = ~0ULL - (1ULL << 24), shm_all = ~0ULL - (1ULL << 24);  // bytes, pages
    int32_t shm_segments = 4096;
    bool shm_destroys_orphans = false;  // shm_rmid_forced
    int32_t sem_per_set = 32000, sem_total = 1'024'000'000, sem_operations = 500, sem_sets = 32000;
    int32_t msg_size = 8192, msg_queue_bytes = 16384, msg_queues = 32000;
};
extern Limits limits;

}  // namespace kvmsbx::ipc::sysv
