#pragma once
// Mounts. Each is its man page; the rules are in vfs/mount_tree.hpp, what mount events travel along in
// vfs/propagation.hpp.
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

// mount.cpp
Result<int64_t> sys_mount(Task&, UserString source, UserString target, UserString type, Flags flags, UserString data);
Result<int64_t> sys_umount2(Task&, UserString target, Flags flags);
Result<int64_t> sys_pivot_root(Task&, UserString new_root, UserString put_old);

// mount_api.cpp
Result<int64_t> sys_open_tree(Task&, DirFd directory, UserString path, uint32_t flags);
Result<int64_t> sys_move_mount(Task&, DirFd from_directory, UserString from, DirFd to_directory, UserString to,
                               uint32_t flags);
Result<int64_t> sys_fsopen(Task&, UserString type, uint32_t flags);
Result<int64_t> sys_fsconfig(Task&, Fd fd, uint32_t command, UserString key, UserString value, int32_t aux);
Result<int64_t> sys_fsmount(Task&, Fd fd, uint32_t flags, uint32_t attributes);
Result<int64_t> sys_fspick(Task&, DirFd directory, UserString path, uint32_t flags);

// mount_attributes.cpp
struct MountAttributes {  // struct mount_attr
    uint64_t set, clear, propagation, user_namespace;
};
static_assert(sizeof(MountAttributes) == 32);
struct MountIdRequest {  // struct mnt_id_req
    uint32_t size, unused;
    uint64_t mount, parameter, name_space;
};
static_assert(sizeof(MountIdRequest) == 32);
struct MountStatistics {  // struct statmount
    uint32_t size, options;
    uint64_t mask;
    uint32_t device_major, device_minor;
    uint64_t magic;
    uint32_t fs_flags, fs_type;
    uint64_t id, parent_id;
    uint32_t old_id, old_parent_id;
    uint64_t attributes, propagation, peer_group, master_group, propagate_from;
    uint32_t root, point;
    uint64_t name_space;
    uint32_t fs_subtype, source, option_count, option_array, security_count, security_array;
    uint64_t supported;
    uint32_t uid_map_count, uid_map, gid_map_count, gid_map;
    uint64_t spare[43];
};
static_assert(sizeof(MountStatistics) == 512);
Result<int64_t> sys_mount_setattr(Task&, DirFd directory, UserString path, uint32_t flags,
                                  UserIn<MountAttributes> attributes, size_t size);
Result<int64_t> sys_statmount(Task&, UserIn<MountIdRequest> request, UserBuffer buffer, size_t size, uint32_t flags);
Result<int64_t> sys_listmount(Task&, UserIn<MountIdRequest> request, UserOut<uint64_t> ids, size_t count,
                              uint32_t flags);

}  // namespace kvmsbx::syscalls
