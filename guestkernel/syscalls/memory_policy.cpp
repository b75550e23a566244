// Memory policies, as a machine with one node (0) answers; protection keys, as a CPU without them; userfaultfd(2).
#include "guestkernel/syscalls/handlers_memory.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::syscalls {
namespace {

enum Mode : int32_t {
    kDefault,
    kPreferred,
    kBind,
    kInterleave,
    kLocal,
    kPreferredMany,
    kWeightedInterleave,
    kModeCount
};
constexpr int32_t kStaticNodes = 1 << 15, kRelativeNodes = 1 << 14, kNumaBalancing = 1 << 13;
constexpr uint64_t kNodeBits = 64;  // MAX_NUMNODES as our masks have it

// get_nodes: bits beyond the nodes that there can be must be zero.
Result<uint64_t> load_nodes(Task& task, UserIn<uint64_t> mask, uint64_t maximum) {
    constexpr uint64_t kMostBits = mm::kPageSize * 8;
    if (maximum == 0) return Errno::kINVAL;
    --maximum;
    if (maximum == 0 || !mask) return uint64_t{0};
    if (maximum > kMostBits) return Errno::kINVAL;
    const uint64_t words = (maximum + 63) / 64;
    uint64_t first = 0;
    for (uint64_t i = 0; i < words; ++i) {
        uint64_t word = TRY(UserIn<uint64_t>{mask.address + i * 8}.load(task.space()));
        if (i + 1 == words && maximum % 64) word &= (1ULL << maximum % 64) - 1;
        if (i == 0)
            first = word;
        else if (word)
            return Errno::kINVAL;
    }
    return first;
}

struct Policy {
    int32_t mode, flags;
    uint64_t nodes;
};

// sanitize_mpol_flags and mpol_new: what a policy may say on one node.
Result<Policy> check_policy(int32_t mode, uint64_t nodes) {
    const int32_t flags = mode & (kStaticNodes | kRelativeNodes | kNumaBalancing);
    const int32_t kind = mode & ~flags;
    if (kind < 0 || kind >= kModeCount) return Errno::kINVAL;
    if ((flags & kStaticNodes) && (flags & kRelativeNodes)) return Errno::kINVAL;
    if ((flags & kNumaBalancing) && kind != kBind && kind != kPreferredMany) return Errno::kINVAL;
    if (kind == kDefault) return nodes ? Result<Policy>(Errno::kINVAL) : Policy{kind, 0, 0};
    if (kind == kLocal || (kind == kPreferred && !nodes)) {
        if (nodes || (flags & (kStaticNodes | kRelativeNodes))) return Errno::kINVAL;
        return Policy{kLocal, flags, 0};
    }
    if (!nodes) return Errno::kINVAL;
    const uint64_t usable = flags & kRelativeNodes ? 1 : nodes & 1;
    if (!usable) return Errno::kINVAL;
    return Policy{kind, flags, flags & (kStaticNodes | kRelativeNodes) ? nodes : usable};
}

Result<task::Task*> target_of(Task& task, int32_t pid) {
    task::Task* target = pid == 0 ? &task : task::find_task(pid);
    if (!target || !target->space_) return Errno::kSRCH;
    return target;
}

}  // namespace

Result<int64_t> sys_set_mempolicy(Task& task, int32_t mode, UserIn<uint64_t> mask, uint64_t maximum) {
    const uint64_t nodes = mask || maximum ? TRY(load_nodes(task, mask, mask ? maximum : 1)) : 0;
    const Policy policy = TRY(check_policy(mode, nodes));
    task.memory_policy = {policy.mode | policy.flags, policy.nodes};
    return 0;
}

Result<int64_t> sys_get_mempolicy(Task& task, UserOut<int32_t> mode, UserOut<uint64_t> mask, uint64_t maximum,
                                  Address address, Flags flags) {
    constexpr uint64_t kNode = 1, kAddress = 2, kAllowed = 4;
    if (mask && maximum < 1) return Errno::kINVAL;
    if (flags.value & ~(kNode | kAddress | kAllowed)) return Errno::kINVAL;
    int32_t answer = task.memory_policy.mode;
    uint64_t nodes = task.memory_policy.nodes;
    if (flags.value & kAllowed) {
        if (flags.value & (kNode | kAddress)) return Errno::kINVAL;
        answer = 0, nodes = 1;
    } else if (flags.value & kAddress) {
        if (!task.space().find(address)) return Errno::kFAULT;
        if (flags.value & kNode) {
            while (!task.space().translate(address, mm::Access::kRead))
                if (task.space().fault(address, mm::Access::kRead).is_error()) return Errno::kFAULT;
            answer = 0;
        } else {
            answer = 0, nodes = 0;  // no policy of its own
        }
    } else if (address) {
        return Errno::kINVAL;
    } else if (flags.value & kNode) {
        if ((answer & ~(kStaticNodes | kRelativeNodes)) != kInterleave) return Errno::kINVAL;
        answer = 0;
    }
    if (mode) TRY(mode.store(task.space(), answer));
    if (!mask) return 0;
    const uint64_t bytes = (maximum + 62) / 64 * 8;  // copy_nodes_to_user
    if (bytes > mm::kPageSize) return Errno::kINVAL;
    TRY(mm::clear_user(task.space(), mask.address, bytes));
    if (bytes) TRY(mask.store(task.space(), nodes));
    return 0;
}

Result<int64_t> sys_mbind(Task& task, Address start, size_t length, int32_t mode, UserIn<uint64_t> mask,
                          uint64_t maximum, Flags flags) {
    constexpr uint64_t kStrict = 1, kMove = 2, kMoveAll = 4;
    const uint64_t nodes = mask || maximum ? TRY(load_nodes(task, mask, mask ? maximum : 1)) : 0;
    const auto how = static_cast<uint32_t>(flags.value);
    if (how & ~(kStrict | kMove | kMoveAll)) return Errno::kINVAL;
    if ((how & kMoveAll) && !task.credentials().has(auth::Capability::kSysNice)) return Errno::kPERM;
    if (start.value % mm::kPageSize) return Errno::kINVAL;
    const uint64_t end = start.value + ((length + mm::kPageSize - 1) & ~(mm::kPageSize - 1));
    if (end < start.value) return Errno::kINVAL;
    if (end == start.value) return 0;
    TRY(check_policy(mode, nodes));
    uint64_t covered = start.value;
    for (mm::Vma* vma = task.space().find(covered); vma && covered < end; vma = task.space().find(covered))
        covered = vma->end;
    return covered < end ? Result<int64_t>(Errno::kFAULT) : 0;
}

Result<int64_t> sys_migrate_pages(Task& task, Pid pid, uint64_t maximum, UserIn<uint64_t> from, UserIn<uint64_t> to) {
    TRY(load_nodes(task, from, maximum));
    const uint64_t target_nodes = TRY(load_nodes(task, to, maximum));
    TRY(target_of(task, pid));
    if (target_nodes & ~1ULL && !task.credentials().has(auth::Capability::kSysNice)) return Errno::kPERM;
    return target_nodes & 1 ? Result<int64_t>(0) : Errno::kINVAL;
}

Result<int64_t> sys_move_pages(Task& task, Pid pid, uint64_t count, UserIn<uint64_t> pages, UserIn<int32_t> nodes,
                               UserOut<int32_t> status, Flags flags) {
    constexpr uint32_t kMove = 2, kMoveAll = 4;
    const auto how = static_cast<uint32_t>(flags.value);
    if (how & ~(kMove | kMoveAll)) return Errno::kINVAL;
    if ((how & kMoveAll) && !task.credentials().has(auth::Capability::kSysNice)) return Errno::kPERM;
    task::Task* const target = TRY(target_of(task, pid));
    if (&target->process() != &task.process() && !task.credentials().has(auth::Capability::kSysPtrace))
        return Errno::kPERM;
    const RefPtr<mm::AddressSpace> space = target->space_;
    for (uint64_t i = 0; i < count; ++i) {
        const uint64_t address = TRY(UserIn<uint64_t>{pages.address + i * 8}.load(task.space()));
        if (nodes) {
            const int32_t node = TRY(UserIn<int32_t>{nodes.address + i * 4}.load(task.space()));
            if (node != 0) return Errno::kNODEV;
        }
        int32_t answer = 0;
        if (!space->find(address))
            answer = -static_cast<int32_t>(Errno::kFAULT);
        else if (!space->translate(address, mm::Access::kRead))
            answer = -static_cast<int32_t>(Errno::kNOENT);
        TRY(UserOut<int32_t>{status.address + i * 4}.store(task.space(), answer));
    }
    return 0;
}

Result<int64_t> sys_pkey_alloc(Task&, Flags flags, uint64_t rights) {
    constexpr uint64_t kAllRights = 3;
    if (flags.value || (rights & ~kAllRights)) return Errno::kINVAL;
    return Errno::kNOSPC;
}

Result<int64_t> sys_pkey_free(Task&, int32_t) { return Errno::kINVAL; }

Result<int64_t> sys_pkey_mprotect(Task& task, Address address, size_t length, Protection protection, int32_t key) {
    if (key != -1) return Errno::kINVAL;
    return sys_mprotect(task, address, length, protection);
}

Result<int64_t> sys_userfaultfd(Task&, Flags) { return Errno::kPERM; }

}  // namespace kvmsbx::syscalls
