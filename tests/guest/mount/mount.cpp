// mount(2), umount2(2): kinds, flags, and what is refused.
#include <sys/inotify.h>
#include <sys/statfs.h>

#include "tests/guest/mount/mount_test.hpp"

using namespace guest;
using namespace mounts;

TEST("tmpfs_hides_what_was_there") {
    base_mount();
    make_directory("a");
    make_file("a/below");
    OK(mount_tmpfs("a"));
    CHECK(!exists("a/below"));
    make_file("a/above");
    OK(umount2("a", 0));
    CHECK(exists("a/below") && !exists("a/above"));
}

TEST("mount_errors") {
    base_mount();
    make_directory("a");
    make_file("file");
    CHECK_ERRNO(mount("x", "missing", "tmpfs", 0, nullptr), ENOENT);
    CHECK_ERRNO(mount("x", "a", "no-such-type", 0, nullptr), ENODEV);
    CHECK_ERRNO(mount("x", "a", nullptr, 0, nullptr), EINVAL);
    CHECK_ERRNO(mount("x", "file", "tmpfs", 0, nullptr), ENOTDIR);
    CHECK_ERRNO(mount("x", "file/a", "tmpfs", 0, nullptr), ENOTDIR);
    CHECK_ERRNO(mount("x", "a", reinterpret_cast<const char*>(8), 0, nullptr), EFAULT);
    CHECK_ERRNO(mount(reinterpret_cast<const char*>(8), "a", "tmpfs", 0, nullptr), EFAULT);
    CHECK_ERRNO(mount("x", reinterpret_cast<const char*>(8), "tmpfs", 0, nullptr), EFAULT);
    CHECK_ERRNO(mount("x", "a", "tmpfs", 0, reinterpret_cast<const char*>(8)), EFAULT);
    CHECK_ERRNO(mount("x", "a", "tmpfs", 1UL << 31, nullptr), EINVAL);
    const std::string longer(5000, 'a');
    CHECK_ERRNO(mount("x", "a", longer.c_str(), 0, nullptr), EINVAL);
    CHECK_ERRNO(mount(longer.c_str(), "a", "tmpfs", 0, nullptr), EINVAL);
    CHECK_ERRNO(mount("x", longer.c_str(), "tmpfs", 0, nullptr), ENAMETOOLONG);
}

TEST("tmpfs_options") {
    base_mount();
    make_directory("a");
    CHECK_ERRNO(mount("x", "a", "tmpfs", 0, "size=lots"), EINVAL);
    CHECK_ERRNO(mount("x", "a", "tmpfs", 0, "color=blue"), EINVAL);
    CHECK_ERRNO(mount("x", "a", "tmpfs", 0, "mode=999"), EINVAL);
    OK(mount("x", "a", "tmpfs", 0, "mode=0710,uid=5,gid=6,size=64k,ro"));
    struct stat status;
    OK(stat("a", &status));
    CHECK_EQ(status.st_mode & 07777, 0710);
    CHECK_EQ(status.st_uid, 5);
    CHECK_EQ(status.st_gid, 6);
    struct statfs space;
    OK(statfs("a", &space));
    CHECK_EQ(space.f_blocks, 16);
    CHECK_ERRNO(mkdir("a/b", 0755), EROFS);
    OK(mount("x", "a", "tmpfs", 0, "size=1T"));
    OK(statfs("a", &space));
    CHECK_EQ(space.f_blocks, 1UL << 28);
}

// What is not the default, in Linux's order.
TEST("tmpfs_options_are_shown") {
    const std::string base = base_mount();
    make_directory("a");
    OK(mount("x", "a", "tmpfs", 0, "nr_inodes=50,gid=6,mode=0710,size=64k,uid=5"));
    const std::string line = info_of(base + "/a");
    CHECK(line.find("rw,size=64k,nr_inodes=50,mode=710,uid=5,gid=6") != line.npos);
    OK(mount(nullptr, "a", nullptr, MS_REMOUNT, "nr_inodes=60,mode=0777"));
    const std::string changed = info_of(base + "/a");
    CHECK(changed.find("rw,size=64k,nr_inodes=60,mode=710,uid=5,gid=6") != changed.npos);
}

TEST("tmpfs_huge_pages") {
    const std::string base = base_mount();
    make_directory("a");
    if (mount("x", "a", "tmpfs", 0, "huge=never") < 0) SKIP("this kernel has no huge pages");
    CHECK_EQ(info_of(base + "/a").find("huge="), std::string::npos);
    OK(mount("x", "a", "tmpfs", 0, "huge=within_size"));
    CHECK(info_of(base + "/a").find("huge=within_size") != std::string::npos);
    OK(mount("x", "a", "tmpfs", 0, "huge=advise"));
    CHECK_ERRNO(mount("x", "a", "tmpfs", 0, "huge=sometimes"), EINVAL);
    CHECK_ERRNO(mount("x", "a", "tmpfs", 0, "huge"), EINVAL);
}

TEST("tmpfs_memory_policies") {
    const std::string base = base_mount();
    make_directory("a");
    if (mount("x", "a", "tmpfs", 0, "mpol=default") < 0) SKIP("this kernel has one memory node and no policies");
    CHECK_EQ(info_of(base + "/a").find("mpol="), std::string::npos);
    const struct {
        const char *option, *shown;
    } rows[] = {{"mpol=local", "mpol=local"},
                {"mpol=prefer:0", "mpol=prefer:0"},
                {"mpol=prefer", "mpol=local"},
                {"mpol=bind:0-0", "mpol=bind:0"},
                {"mpol=interleave", "mpol=interleave:0"},
                {"mpol=bind=static:0", "mpol=bind=static:0"}};
    for (const auto& row : rows) {
        OK(mount("x", "a", "tmpfs", 0, row.option));
        const std::string line = info_of(base + "/a");
        CHECK(line.size() > strlen(row.shown) && line.substr(line.size() - strlen(row.shown)) == row.shown);
    }
    for (const char* wrong : {"mpol=bind", "mpol=local:0", "mpol=default:0", "mpol=prefer:", "mpol=bind:63",
                              "mpol=near", "mpol=bind=often:0", "mpol"})
        CHECK_ERRNO(mount("x", "a", "tmpfs", 0, wrong), EINVAL);
}

TEST("magic_number_in_the_flags_is_old") {
    base_mount();
    make_directory("a");
    OK(mount("x", "a", "tmpfs", 0xc0ed0000, nullptr));
    CHECK_EQ(mounts_on(std::string(get_current_dir_name()) + "/a"), 1);
}

TEST("mounts_stack") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_file("a/first");
    OK(mount_tmpfs("a"));
    make_file("a/second");
    CHECK(!exists("a/first") && exists("a/second"));
    OK(umount2("a", 0));
    CHECK(exists("a/first") && !exists("a/second"));
    OK(umount2("a", 0));
    CHECK_ERRNO(umount2("a", 0), EINVAL);
}

TEST("same_file_system_twice_is_busy") {
    base_mount();
    make_directory("a");
    OK(mount("mqueue", "a", "mqueue", 0, nullptr));
    CHECK_ERRNO(mount("mqueue", "a", "mqueue", 0, nullptr), EBUSY);
    OK(umount2("a", 0));
}

TEST("bind_shows_the_same_files") {
    base_mount();
    make_directory("a");
    make_directory("b");
    make_file("a/file");
    OK(mount_bind("a", "b"));
    CHECK(exists("b/file"));
    make_file("b/new");
    CHECK(exists("a/new"));
    CHECK_ERRNO(rename("a/file", "b/moved"), EXDEV);
    CHECK_ERRNO(link("a/file", "b/linked"), EXDEV);
    OK(umount2("b", 0));
    CHECK(!exists("b/file"));
}

TEST("bind_of_a_file") {
    base_mount();
    make_file("one");
    CHECK(write_file("two", "second"));
    make_directory("directory");
    CHECK_ERRNO(mount_bind("one", "directory"), ENOTDIR);
    CHECK_ERRNO(mount_bind("directory", "one"), ENOTDIR);
    OK(mount_bind("two", "one"));
    char text[16];
    OK(read_file("one", text, sizeof text));
    CHECK_STREQ(text, "second");
    CHECK_ERRNO(unlink("one"), EBUSY);
    CHECK_ERRNO(rename("one", "three"), EBUSY);
    CHECK_ERRNO(rename("two", "one"), EBUSY);
}

TEST("bind_errors") {
    base_mount();
    make_directory("a");
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_BIND, nullptr), EINVAL);
    CHECK_ERRNO(mount("", "a", nullptr, MS_BIND, nullptr), EINVAL);
    CHECK_ERRNO(mount("missing", "a", nullptr, MS_BIND, nullptr), ENOENT);
    OK(chdir("a"));
    OK(rmdir("../a"));
    CHECK_ERRNO(mount("/tmp", ".", nullptr, MS_BIND, nullptr), ENOENT);
}

TEST("bind_alone_leaves_submounts_out") {
    base_mount();
    make_directory("a");
    make_directory("a/inner");
    make_directory("b");
    make_directory("c");
    OK(mount_tmpfs("a/inner"));
    make_file("a/inner/file");
    OK(mount_bind("a", "b"));
    CHECK(!exists("b/inner/file"));
    OK(mount("a", "c", nullptr, MS_BIND | MS_REC, nullptr));
    CHECK(exists("c/inner/file"));
    CHECK_ERRNO(umount2("c", 0), EBUSY);
    OK(umount2("c/inner", 0));
    OK(umount2("c", 0));
    CHECK(exists("a/inner/file"));
}

TEST("recursive_bind_into_itself_ends") {
    base_mount();
    make_directory("a");
    make_directory("a/inner");
    OK(mount_tmpfs("a"));
    make_directory("a/self");
    OK(mount("a", "a/self", nullptr, MS_BIND | MS_REC, nullptr));
    CHECK(exists("a/self/self"));
    CHECK(!exists("a/self/self/self"));
}

TEST("bind_of_a_subdirectory_with_submounts") {
    const std::string base = base_mount();
    for (const char* path : {"a", "a/in", "a/in/x", "a/out", "b"}) make_directory(path);
    OK(mount_tmpfs("a/in/x"));
    OK(mount_tmpfs("a/out"));
    OK(mount("a/in", "b", nullptr, MS_BIND | MS_REC, nullptr));
    CHECK_EQ(mounts_on(base + "/b/x"), 1);
    CHECK(info_of(base + "/b").find(" /a/in " + base + "/b ") != std::string::npos);
}

TEST("bind_remount_changes_one_mount") {
    const std::string base = base_mount();
    make_directory("a");
    make_directory("b");
    OK(mount_bind("a", "b"));
    CHECK_STREQ(options_of(base + "/b").c_str(), "rw,relatime");
    OK(mount(nullptr, "b", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
    CHECK_STREQ(options_of(base + "/b").c_str(), "ro,nosuid,nodev,noexec,relatime");
    CHECK_ERRNO(mkdir("b/x", 0755), EROFS);
    make_directory("a/x");
    OK(mount(nullptr, "b", nullptr, MS_REMOUNT | MS_BIND | MS_NOATIME, nullptr));
    CHECK_STREQ(options_of(base + "/b").c_str(), "rw,noatime");
    OK(mount(nullptr, "b", nullptr, MS_REMOUNT | MS_BIND | MS_NODEV, nullptr));
    CHECK_STREQ(options_of(base + "/b").c_str(), "rw,nodev,noatime");
    OK(mount(nullptr, "b", nullptr, MS_REMOUNT | MS_BIND | MS_STRICTATIME, nullptr));
    CHECK_STREQ(options_of(base + "/b").c_str(), "rw");
    CHECK_ERRNO(mount(nullptr, "b/x", nullptr, MS_REMOUNT | MS_BIND, nullptr), EINVAL);
}

TEST("remount_readonly_waits_for_writers") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    const int fd = OK(open("a/file", O_WRONLY | O_CREAT, 0644));
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_REMOUNT | MS_RDONLY, nullptr), EBUSY);
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), EBUSY);
    OK(close(fd));
    OK(mount(nullptr, "a", nullptr, MS_REMOUNT | MS_RDONLY, nullptr));
    CHECK_ERRNO(open("a/file", O_WRONLY), EROFS);
    CHECK_ERRNO(chmod("a/file", 0600), EROFS);
    OK(close(OK(open("a/file", O_RDONLY))));
    OK(mount(nullptr, "a", nullptr, MS_REMOUNT, nullptr));
    OK(close(OK(open("a/file", O_WRONLY))));
}

TEST("remount_is_of_the_file_system") {
    const std::string base = base_mount();
    make_directory("a");
    make_directory("b");
    OK(mount_tmpfs("a"));
    OK(mount_bind("a", "b"));
    OK(mount(nullptr, "a", nullptr, MS_REMOUNT | MS_RDONLY, nullptr));
    CHECK_ERRNO(mkdir("b/x", 0755), EROFS);
    CHECK_STREQ(options_of(base + "/b").c_str(), "rw,relatime");
    CHECK(info_of(base + "/b").find(" ro") != std::string::npos);
    OK(mount(nullptr, "a", nullptr, MS_REMOUNT, "size=128k"));
    struct statfs space;
    OK(statfs("b", &space));
    CHECK_EQ(space.f_blocks, 32);
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_REMOUNT, "size=lots"), EINVAL);
    make_file("a/file");
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_REMOUNT, "nr_inodes=1"), EINVAL);
    make_directory("a/x");
    CHECK_ERRNO(mount(nullptr, "a/x", nullptr, MS_REMOUNT, nullptr), EINVAL);
}

TEST("nosymfollow") {
    base_mount();
    make_directory("a");
    OK(mount("x", "a", "tmpfs", 256, nullptr));
    make_file("a/file");
    OK(symlink("file", "a/link"));
    CHECK_ERRNO(open("a/link", O_RDONLY), ELOOP);
    char target[16];
    CHECK_EQ(readlink("a/link", target, sizeof target), 4);
    struct statfs about;
    OK(statfs("a", &about));
    CHECK((about.f_flags & 0x2000) != 0);
    CHECK((about.f_flags & 0x1000) != 0);
}

TEST("move") {
    base_mount();
    make_directory("a");
    make_directory("b");
    make_file("file");
    OK(mount_tmpfs("a"));
    make_file("a/inside");
    make_directory("a/deep");
    OK(mount_tmpfs("a/deep"));
    make_file("a/deep/deeper");
    OK(mount("a", "b", nullptr, MS_MOVE, nullptr));
    CHECK(exists("b/inside") && exists("b/deep/deeper") && !exists("a/inside"));
    CHECK_ERRNO(mount("b", "b/deep", nullptr, MS_MOVE, nullptr), ELOOP);
    CHECK_ERRNO(mount("b", "file", nullptr, MS_MOVE, nullptr), EINVAL);
    CHECK_ERRNO(mount("a", "b", nullptr, MS_MOVE, nullptr), EINVAL);
    CHECK_ERRNO(mount("", "b", nullptr, MS_MOVE, nullptr), EINVAL);
    CHECK_ERRNO(mount(nullptr, "b", nullptr, MS_MOVE, nullptr), EINVAL);
    CHECK_ERRNO(mount("missing", "b", nullptr, MS_MOVE, nullptr), ENOENT);
}

TEST("umount_errors") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_directory("a/b");
    CHECK_ERRNO(umount2("a/b", 0), EINVAL);
    CHECK_ERRNO(umount2("missing", 0), ENOENT);
    CHECK_ERRNO(umount2("a", 16), EINVAL);
    CHECK_ERRNO(umount2(reinterpret_cast<const char*>(8), 0), EFAULT);
    OK(symlink("a", "link"));
    CHECK_ERRNO(umount2("link", UMOUNT_NOFOLLOW), EINVAL);
    OK(umount2("link", 0));
}

TEST("umount_of_what_is_in_use") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_directory("a/b");
    const int fd = OK(open("a/b", O_RDONLY));
    CHECK_ERRNO(umount2("a", 0), EBUSY);
    OK(close(fd));
    OK(mount_tmpfs("a/b"));
    CHECK_ERRNO(umount2("a", 0), EBUSY);
    OK(umount2("a/b", 0));
    OK(chdir("a"));
    CHECK_ERRNO(umount2("../a", 0), EBUSY);
    OK(chdir(".."));
    OK(umount2("a", MNT_FORCE));
}

TEST("lazy_umount_leaves_open_files_alone") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_directory("a/inner");
    OK(mount_tmpfs("a/inner"));
    make_file("a/inner/deep");
    make_file("a/file");
    const int fd = OK(open("a/file", O_RDONLY)), directory = OK(open("a", O_RDONLY));
    OK(umount2("a", MNT_DETACH));
    CHECK(!exists("a/file"));
    char byte;
    CHECK_EQ(read(fd, &byte, 1), 1);
    OK(close(OK(openat(directory, "file", O_RDONLY))));
    CHECK_ERRNO(openat(directory, "inner/deep", O_RDONLY), ENOENT);
    // Nothing can be mounted in what belongs to no namespace any more.
    OK(fchdir(directory));
    CHECK_EQ(mount_tmpfs("inner"), -1);
    CHECK(errno == EINVAL || errno == ENOENT);  // ENOENT: as from Linux 6.17 on
    CHECK_ERRNO(umount2(".", 0), EINVAL);
}

TEST("expire_needs_two_calls_without_use_between") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_file("a/file");
    CHECK_ERRNO(umount2("a", MNT_EXPIRE | MNT_DETACH), EINVAL);
    CHECK_ERRNO(umount2("a", MNT_EXPIRE | MNT_FORCE), EINVAL);
    const int fd = OK(open("a/file", O_RDONLY));
    CHECK_ERRNO(umount2("a", MNT_EXPIRE), EBUSY);
    OK(close(fd));
    CHECK_ERRNO(umount2("a", MNT_EXPIRE), EAGAIN);
    OK(close(OK(open("a/file", O_RDONLY))));
    CHECK_ERRNO(umount2("a", MNT_EXPIRE), EAGAIN);
    OK(umount2("a", MNT_EXPIRE));
    CHECK_ERRNO(umount2("a", MNT_EXPIRE), EINVAL);
}

TEST("a_watch_does_not_keep_a_mount") {
    base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_file("a/file");
    const int watcher = OK(inotify_init1(IN_NONBLOCK));
    OK(inotify_add_watch(watcher, "a/file", IN_ALL_EVENTS));
    OK(umount2("a", 0));
    inotify_event event{};
    CHECK_EQ(read(watcher, &event, sizeof event), static_cast<ssize_t>(sizeof event));
    CHECK_EQ(event.mask, IN_UNMOUNT);
}

TEST("mount_needs_a_capability") {
    const std::string base = base_mount();
    OK(chmod(".", 0777));
    make_directory("a");
    make_directory("b");
    OK(mount_tmpfs("a"));
    drop_privileges();
    CHECK_ERRNO(mount_tmpfs("b"), EPERM);
    CHECK_ERRNO(mount_tmpfs("missing"), ENOENT);
    CHECK_ERRNO(mount_bind("a", "b"), EPERM);
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_SHARED, nullptr), EPERM);
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_REMOUNT | MS_RDONLY, nullptr), EPERM);
    CHECK_ERRNO(umount2("a", 0), EPERM);
    CHECK_ERRNO(umount2("b", 0), EPERM);
    CHECK_ERRNO(umount2("a", 64), EINVAL);
    CHECK_ERRNO(syscall(SYS_pivot_root, "a", "b"), EPERM);
    CHECK_ERRNO(syscall(SYS_pivot_root, "missing", "b"), EPERM);
    CHECK_ERRNO(chroot("a"), EPERM);
    CHECK_ERRNO(chroot("missing"), ENOENT);
    CHECK_ERRNO(sys_fsopen("tmpfs", 0), EPERM);
    CHECK_ERRNO(sys_fspick(AT_FDCWD, "a", 0), EPERM);
    CHECK_ERRNO(sys_open_tree(AT_FDCWD, "a", kTreeClone), EPERM);
    OK(close(OK(sys_open_tree(AT_FDCWD, "a", 0))));
    CHECK_ERRNO(sys_move_mount(AT_FDCWD, "a", AT_FDCWD, "b", 0), EPERM);
    const Attributes readonly{1, 0, 0, 0};
    CHECK_ERRNO(sys_mount_setattr(AT_FDCWD, "a", 0, &readonly, sizeof readonly), EPERM);
}

TEST("chroot_and_dotdot") {
    base_mount();
    make_directory("a");
    make_file("file");
    CHECK_ERRNO(chroot("file"), ENOTDIR);
    OK(mount_tmpfs("a"));
    make_file("a/inside");
    OK(chroot("a"));
    CHECK(exists("/inside") && exists("/../inside"));
    CHECK(exists("file"));  // the working directory is outside
    char text[256];
    CHECK_GT(syscall(SYS_getcwd, text, sizeof text), 0);
    CHECK(strncmp(text, "(unreachable)", 13) == 0);
}
