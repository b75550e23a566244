// The calls on descriptors: open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2), fspick(2),
// mount_setattr(2), statmount(2), listmount(2).
#include <sys/statfs.h>

#include "tests/guest/mount/mount_test.hpp"

using namespace guest;
using namespace mounts;

namespace {

enum : unsigned { kFlag, kString, kBinary, kPath, kPathEmpty, kFd, kCreate, kReconfigure };

const char* const kBad = reinterpret_cast<const char*>(8);

int tmpfs_context() {
    const int fd = OK(sys_fsopen("tmpfs", 1));
    OK(sys_fsconfig(fd, kString, "source", "case", 0));
    OK(sys_fsconfig(fd, kString, "size", "64k", 0));
    return fd;
}

}  // namespace

TEST("a_file_system_step_by_step") {
    const std::string base = base_mount();
    make_directory("a");
    const int context = tmpfs_context();
    OK(sys_fsconfig(context, kCreate, nullptr, nullptr, 0));
    const int mounted = OK(sys_fsmount(context, 1, 0xa));  // nosuid, noexec
    CHECK_EQ(fcntl(mounted, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(mounted, F_GETFL) & O_PATH, O_PATH);
    OK(mkdirat(mounted, "early", 0755));
    OK(sys_move_mount(mounted, "", AT_FDCWD, "a", kFromEmpty));
    CHECK(exists("a/early"));
    CHECK_STREQ(options_of(base + "/a").c_str(), "rw,nosuid,noexec,relatime");
    CHECK(info_of(base + "/a").find(" tmpfs case ") != std::string::npos);
    struct statfs space;
    OK(statfs("a", &space));
    CHECK_EQ(space.f_blocks, 16);
    OK(close(mounted));
    CHECK(exists("a/early"));
    OK(umount2("a", 0));
}

TEST("a_tree_that_is_not_moved_goes_with_its_descriptor") {
    base_mount();
    const int context = tmpfs_context();
    OK(sys_fsconfig(context, kCreate, nullptr, nullptr, 0));
    const int mounted = OK(sys_fsmount(context, 0, 0));
    OK(close(OK(openat(mounted, "file", O_CREAT | O_WRONLY, 0644))));
    const int file = OK(openat(mounted, "file", O_RDONLY));
    OK(close(mounted));
    char byte;
    CHECK_EQ(read(file, &byte, 1), 0);
}

TEST("fsopen_errors") {
    CHECK_ERRNO(sys_fsopen("no-such-type", 0), ENODEV);
    CHECK_ERRNO(sys_fsopen("tmpfs", 2), EINVAL);
    CHECK_ERRNO(sys_fsopen(kBad, 0), EFAULT);
}

TEST("fsconfig_arguments") {
    const int fd = OK(sys_fsopen("tmpfs", 0));
    CHECK_ERRNO(sys_fsconfig(-1, kFlag, "ro", nullptr, 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(999, kFlag, "ro", nullptr, 0), EBADF);
    CHECK_ERRNO(sys_fsconfig(fd, 99, nullptr, nullptr, 0), EOPNOTSUPP);
    CHECK_ERRNO(sys_fsconfig(fd, kFlag, nullptr, nullptr, 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kFlag, "ro", "1", 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kFlag, "ro", nullptr, 1), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kString, "size", nullptr, 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kBinary, "size", "1", 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kPath, "size", "1", -5), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kFd, "size", nullptr, -1), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kCreate, "size", nullptr, 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kFlag, kBad, nullptr, 0), EFAULT);
    CHECK_ERRNO(sys_fsconfig(fd, kString, "size", kBad, 0), EFAULT);
    CHECK_ERRNO(sys_fsconfig(fd, kFlag, "", nullptr, 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kFlag, "no-such-flag", nullptr, 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kString, "size", "lots", 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kFlag, "source", nullptr, 0), EINVAL);
    const std::string longer(300, 'k');
    CHECK_ERRNO(sys_fsconfig(fd, kFlag, longer.c_str(), nullptr, 0), EINVAL);
    OK(sys_fsconfig(fd, kString, "source", "one", 0));
    CHECK_ERRNO(sys_fsconfig(fd, kString, "source", "two", 0), EINVAL);
    OK(sys_fsconfig(fd, kFlag, "ro", nullptr, 0));
    const int pipe_or_file = OK(open("/proc/self/status", O_RDONLY));
    CHECK_ERRNO(sys_fsconfig(pipe_or_file, kFlag, "ro", nullptr, 0), EINVAL);
}

TEST("fsconfig_phases") {
    base_mount();
    const int fd = OK(sys_fsopen("tmpfs", 0));
    CHECK_ERRNO(sys_fsmount(fd, 0, 0), EINVAL);
    CHECK_ERRNO(sys_fsconfig(fd, kReconfigure, nullptr, nullptr, 0), EBUSY);
    OK(sys_fsconfig(fd, kCreate, nullptr, nullptr, 0));
    CHECK_ERRNO(sys_fsconfig(fd, kCreate, nullptr, nullptr, 0), EBUSY);
    CHECK_ERRNO(sys_fsconfig(fd, kString, "size", "64k", 0), EBUSY);
    CHECK_ERRNO(sys_fsmount(fd, 2, 0), EINVAL);
    CHECK_ERRNO(sys_fsmount(fd, 0, 0x30), EINVAL);
    CHECK_ERRNO(sys_fsmount(fd, 0, 0x1000), EINVAL);
    CHECK_ERRNO(sys_fsmount(999, 0, 0), EBADF);
    CHECK_ERRNO(sys_fsmount(1, 0, 0), EINVAL);
    const int mounted = OK(sys_fsmount(fd, 0, 0));
    CHECK_ERRNO(sys_fsmount(fd, 0, 0), EBUSY);
    OK(sys_fsconfig(fd, kString, "size", "128k", 0));
    OK(sys_fsconfig(fd, kReconfigure, nullptr, nullptr, 0));
    struct statfs space;
    OK(fstatfs(mounted, &space));
    CHECK_EQ(space.f_blocks, 32);
    char message[64];
    CHECK_ERRNO(read(fd, message, sizeof message), ENODATA);
    char name[64] = {};
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    OK(readlink(link.c_str(), name, sizeof name - 1));
    CHECK_STREQ(name, "anon_inode:[fscontext]");
}

TEST("fspick_reconfigures") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_directory("a/x");
    CHECK_ERRNO(sys_fspick(AT_FDCWD, "a/x", 0), EINVAL);
    CHECK_ERRNO(sys_fspick(AT_FDCWD, "missing", 0), ENOENT);
    CHECK_ERRNO(sys_fspick(AT_FDCWD, "a", 0x10), EINVAL);
    const int fd = OK(sys_fspick(AT_FDCWD, "a", 1));
    OK(sys_fsconfig(fd, kFlag, "ro", nullptr, 0));
    OK(sys_fsconfig(fd, kReconfigure, nullptr, nullptr, 0));
    CHECK_ERRNO(mkdir("a/y", 0755), EROFS);
    CHECK_ERRNO(sys_fsconfig(fd, kCreate, nullptr, nullptr, 0), EBUSY);
    OK(umount2("a", 0));
}

TEST("open_tree_of_a_path") {
    base_mount();
    make_directory("a");
    make_file("a/file");
    CHECK_ERRNO(sys_open_tree(AT_FDCWD, "a", kRecursive), EINVAL);
    CHECK_ERRNO(sys_open_tree(AT_FDCWD, "a", 0x10), EINVAL);
    CHECK_ERRNO(sys_open_tree(AT_FDCWD, "missing", 0), ENOENT);
    CHECK_ERRNO(sys_open_tree(999, "a", 0), EBADF);
    const int fd = OK(sys_open_tree(AT_FDCWD, "a", O_CLOEXEC));
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    OK(close(OK(openat(fd, "file", O_RDONLY))));
    char byte;
    CHECK_ERRNO(read(fd, &byte, 1), EBADF);
    CHECK_ERRNO(sys_move_mount(fd, "", AT_FDCWD, "a", kFromEmpty), EINVAL);  // no mount's root
}

TEST("open_tree_copies") {
    const std::string base = base_mount();
    for (const char* path : {"a", "a/in", "b", "c"}) make_directory(path);
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    const int one = OK(sys_open_tree(AT_FDCWD, "a", kTreeClone));
    CHECK_ERRNO(openat(one, "in/file", O_RDONLY), ENOENT);
    const int all = OK(sys_open_tree(AT_FDCWD, "a", kTreeClone | kRecursive));
    OK(close(OK(openat(all, "in/file", O_RDONLY))));
    CHECK_ERRNO(umount2("b", 0), EINVAL);
    OK(sys_move_mount(all, "", AT_FDCWD, "b", kFromEmpty));
    CHECK(exists("b/in/file"));
    CHECK_EQ(mounts_on(base + "/b/in"), 1);
    // From a place in the namespace to another, as MS_MOVE.
    OK(sys_move_mount(AT_FDCWD, "b", AT_FDCWD, "c", 0));
    CHECK(exists("c/in/file") && !exists("b/in/file"));
    OK(sys_move_mount(all, "", AT_FDCWD, "b", kFromEmpty));
    CHECK(exists("b/in/file"));
    OK(close(one));
    OK(close(all));
    CHECK(exists("b/in/file"));
}

TEST("open_tree_of_an_unbindable_mount") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    OK(mount(nullptr, "a", nullptr, MS_UNBINDABLE, nullptr));
    CHECK_ERRNO(sys_open_tree(AT_FDCWD, "a", kTreeClone), EINVAL);
}

TEST("move_mount_errors") {
    base_mount();
    for (const char* path : {"a", "b"}) make_directory(path);
    make_file("file");
    OK(mount_tmpfs("a"));
    make_directory("a/x");
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "b", 8), EINVAL);
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "b", kSetGroup | kBeneath), EINVAL);
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "missing", AT_FDCWD, "b", 0), ENOENT);
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "missing", 0), ENOENT);
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "b", AT_FDCWD, "a", 0), EINVAL);
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "a/x", 0), ELOOP);
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "file", 0), EINVAL);
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "", AT_FDCWD, "b", 0), ENOENT);
}

TEST("move_beneath") {
    base_mount();
    for (const char* path : {"a", "b"}) make_directory(path);
    OK(mount_tmpfs("a"));
    make_file("a/top");
    OK(mount_tmpfs("b"));
    make_file("b/below");
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "b", AT_FDCWD, "b", kBeneath), EINVAL);
    OK(sys_move_mount(AT_FDCWD, "b", AT_FDCWD, "a", kBeneath));
    CHECK(exists("a/top") && !exists("b/below"));
    OK(umount2("a", 0));
    CHECK(exists("a/below"));
}

TEST("set_group") {
    const std::string base = base_mount();
    for (const char* path : {"a", "b", "c"}) make_directory(path);
    OK(mount_tmpfs("a"));
    OK(mount_bind("a", "b"));
    OK(mount_tmpfs("c"));
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "b", kSetGroup), EINVAL);  // nothing to join
    OK(mount(nullptr, "a", nullptr, MS_SHARED, nullptr));
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "c", kSetGroup), EINVAL);  // another file system
    OK(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "b", kSetGroup));
    CHECK_EQ(field_of(base + "/a", "shared"), field_of(base + "/b", "shared"));
}

TEST("mount_setattr_changes_flags") {
    const std::string base = base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_directory("a/in");
    OK(mount_tmpfs("a/in"));
    const auto set = [](Attributes wanted, unsigned flags = 0) {
        return sys_mount_setattr(AT_FDCWD, "a", flags, &wanted, sizeof wanted);
    };
    OK(set({1 | 2, 0, 0, 0}));
    CHECK_STREQ(options_of(base + "/a").c_str(), "ro,nosuid,relatime");
    OK(set({0, 1, 0, 0}));
    CHECK_STREQ(options_of(base + "/a").c_str(), "rw,nosuid,relatime");
    CHECK_ERRNO(set({0x10, 0, 0, 0}), EINVAL);  // a time setting without clearing it
    CHECK_ERRNO(set({0, 0x10, 0, 0}), EINVAL);
    OK(set({0x10, 0x70, 0, 0}));
    CHECK_STREQ(options_of(base + "/a").c_str(), "rw,nosuid,noatime");
    OK(set({0x20, 0x70, 0, 0}));
    CHECK_STREQ(options_of(base + "/a").c_str(), "rw,nosuid");
    CHECK_ERRNO(set({0x30, 0x70, 0, 0}), EINVAL);
    OK(set({8, 0, 0, 0}, kRecursive));
    CHECK_STREQ(options_of(base + "/a/in").c_str(), "rw,noexec,relatime");
    OK(set({0, 0, MS_SHARED, 0}, kRecursive));
    CHECK_NE(field_of(base + "/a/in", "shared"), 0);
    CHECK_ERRNO(set({0, 0, MS_SHARED | MS_PRIVATE, 0}), EINVAL);
    CHECK_ERRNO(set({0, 0, MS_RDONLY, 0}), EINVAL);
    CHECK_ERRNO(set({0x1000, 0, 0, 0}), EINVAL);
    const int fd = OK(open("a/in/file", O_WRONLY | O_CREAT, 0644));
    CHECK_ERRNO(set({1, 0, 0, 0}, kRecursive), EBUSY);
    CHECK_STREQ(options_of(base + "/a").c_str(), "rw,nosuid,noexec");
    OK(close(fd));
}

TEST("mount_setattr_errors") {
    base_mount();
    make_directory("a");
    const Attributes readonly{1, 0, 0, 0}, nothing;
    CHECK_ERRNO(sys_mount_setattr(AT_FDCWD, "a", 0, &readonly, sizeof readonly), EINVAL);  // no mount's root
    CHECK_ERRNO(sys_mount_setattr(AT_FDCWD, ".", 0, &readonly, 31), EINVAL);
    CHECK_ERRNO(sys_mount_setattr(AT_FDCWD, ".", 0, &readonly, 5000), E2BIG);
    CHECK_ERRNO(sys_mount_setattr(AT_FDCWD, ".", 1, &readonly, sizeof readonly), EINVAL);
    CHECK_ERRNO(sys_mount_setattr(AT_FDCWD, ".", 0, kBad, sizeof readonly), EFAULT);
    CHECK_ERRNO(sys_mount_setattr(AT_FDCWD, "missing", 0, &readonly, sizeof readonly), ENOENT);
    OK(sys_mount_setattr(AT_FDCWD, "missing", 0, &nothing, sizeof nothing));
    struct {
        Attributes known;
        uint64_t more = 1;
    } longer;
    CHECK_ERRNO(sys_mount_setattr(AT_FDCWD, ".", 0, &longer, sizeof longer), E2BIG);
    longer.more = 0;
    OK(sys_mount_setattr(AT_FDCWD, ".", 0, &longer, sizeof longer));
}

TEST("mount_setattr_on_a_detached_tree") {
    const std::string base = base_mount();
    make_directory("a");
    make_directory("b");
    const int tree = OK(sys_open_tree(AT_FDCWD, "a", kTreeClone));
    const Attributes readonly{1, 0, 0, 0};
    OK(sys_mount_setattr(tree, "", AT_EMPTY_PATH, &readonly, sizeof readonly));
    CHECK_ERRNO(mkdirat(tree, "x", 0755), EROFS);
    OK(sys_move_mount(tree, "", AT_FDCWD, "b", kFromEmpty));
    CHECK_STREQ(options_of(base + "/b").c_str(), "ro,relatime");
}

namespace {

struct Request {
    uint32_t size = 24, unused = 0;
    uint64_t mount = 0, parameter = 0;
};

uint64_t unique_id(const char* path) {
    struct {
        uint32_t mask;
        char between[140];
        uint64_t mount;
        char rest[104];
    } about{};
    static_assert(sizeof about == 256);
    OK(syscall(SYS_statx, AT_FDCWD, path, 0, 0x4000, &about));
    CHECK((about.mask & 0x4000) != 0);
    return about.mount;
}

}  // namespace

TEST("statmount_tells_of_one_mount") {
    const std::string base = base_mount();
    make_directory("a");
    OK(mount("the-source", "a", "tmpfs", MS_NOSUID, nullptr));
    OK(mount(nullptr, "a", nullptr, MS_SHARED, nullptr));
    struct {
        uint32_t size, options;
        uint64_t mask;
        uint32_t major, minor;
        uint64_t magic;
        uint32_t fs_flags, type;
        uint64_t id, parent;
        uint32_t old_id, old_parent;
        uint64_t attributes, propagation, group, master, from;
        uint32_t root, point;
        char rest[400];
        char text[512];
    } about{};
    static_assert(offsetof(decltype(about), text) == 512);
    const uint64_t id = unique_id("a");
    const Request request{24, 0, id, 1 | 2 | 8 | 0x10 | 0x20};
    OK(syscall(kStatmount, &request, &about, sizeof about, 0));
    CHECK_EQ(about.mask, 0x3b);
    CHECK_EQ(about.id, id);
    CHECK_EQ(about.parent, unique_id("."));
    CHECK_EQ(about.magic, 0x01021994);
    CHECK_EQ(about.attributes, 2);
    CHECK_EQ(about.propagation, MS_SHARED);
    CHECK_EQ(about.group, static_cast<uint64_t>(field_of(base + "/a", "shared")));
    CHECK_STREQ(about.text + about.type, "tmpfs");
    CHECK_STREQ(about.text + about.root, "/");
    CHECK_STREQ(about.text + about.point, (base + "/a").c_str());
    CHECK_ERRNO(syscall(kStatmount, &request, &about, 520, 0), EOVERFLOW);
    CHECK_ERRNO(syscall(kStatmount, &request, &about, sizeof about, 1), EINVAL);
    CHECK_ERRNO(syscall(kStatmount, kBad, &about, sizeof about, 0), EFAULT);
    const Request unknown{24, 0, ~0ULL - 5, 2}, old{24, 0, 5, 2}, small{16, 0, id, 2};
    CHECK_ERRNO(syscall(kStatmount, &unknown, &about, sizeof about, 0), ENOENT);
    CHECK_ERRNO(syscall(kStatmount, &old, &about, sizeof about, 0), EINVAL);
    CHECK_ERRNO(syscall(kStatmount, &small, &about, sizeof about, 0), EINVAL);
}

TEST("listmount_lists_what_is_below") {
    base_mount();
    for (const char* path : {"a", "b"}) {
        make_directory(path);
        OK(mount_tmpfs(path));
    }
    make_directory("b/in");
    OK(mount_tmpfs("b/in"));
    uint64_t ids[8] = {};
    const uint64_t a = unique_id("a"), b = unique_id("b"), in = unique_id("b/in");
    Request request{24, 0, unique_id("."), 0};
    CHECK_EQ(syscall(kListmount, &request, ids, 8, 0), 3);
    CHECK(ids[0] == a && ids[1] == b && ids[2] == in);
    CHECK_EQ(syscall(kListmount, &request, ids, 2, 1), 2);
    CHECK(ids[0] == in && ids[1] == b);
    request.parameter = a;
    CHECK_EQ(syscall(kListmount, &request, ids, 1, 0), 1);
    CHECK_EQ(ids[0], b);
    CHECK_ERRNO(syscall(kListmount, &request, ids, 8, 2), EINVAL);
    CHECK_ERRNO(syscall(kListmount, &request, ids, 2000000, 0), EOVERFLOW);
    CHECK_ERRNO(syscall(kListmount, &request, kBad, 8, 0), EFAULT);
}

TEST("statx_tells_of_mounts") {
    const std::string base = base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_directory("a/x");
    struct statx about;
    OK(statx(AT_FDCWD, "a", 0, STATX_BASIC_STATS | STATX_MNT_ID | STATX_BTIME, &about));
    CHECK((about.stx_mask & STATX_MNT_ID) != 0 && (about.stx_mask & STATX_BTIME) != 0);
    CHECK_GT(about.stx_btime.tv_sec, 1000000000);
    CHECK_EQ(static_cast<int>(about.stx_mnt_id), atoi(info_of(base + "/a").c_str()));
    CHECK_EQ(about.stx_attributes & STATX_ATTR_MOUNT_ROOT, STATX_ATTR_MOUNT_ROOT);
    CHECK_EQ(about.stx_attributes_mask & 0x2070, 0x2070);
    OK(statx(AT_FDCWD, "a/x", 0, STATX_BASIC_STATS, &about));
    CHECK_EQ(about.stx_attributes & STATX_ATTR_MOUNT_ROOT, 0);
    CHECK_GT(unique_id("a"), 1ULL << 31);
}
