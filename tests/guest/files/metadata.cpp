// stat, chmod, chown, times, access and permissions of another user.
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <time.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
struct stat info_of(const char* path) {
    struct stat info;
    OK(lstat(path, &info));
    return info;
}

template <typename Body>
void as_user(uid_t uid, gid_t gid, Body body) {
    CHECK_EXITED(run_child([&] {
                     OK(setgroups(0, nullptr));
                     OK(setresgid(gid, gid, gid));
                     OK(setresuid(uid, uid, uid));
                     body();
                 }),
                 0);
}
}  // namespace

TEST("stat_fields_of_file") {
    scratch();
    umask(022);
    CHECK(write_file("file", "12345", 0640));
    struct stat info = info_of("file");
    CHECK(S_ISREG(info.st_mode));
    CHECK_EQ(info.st_mode & 07777, 0640);
    CHECK_EQ(info.st_nlink, 1);
    CHECK_EQ(info.st_uid, 0);
    CHECK_EQ(info.st_gid, 0);
    CHECK_EQ(info.st_size, 5);
    CHECK_GT(info.st_blksize, 0);
    CHECK_NE(info.st_ino, 0);
    CHECK_LE(time(nullptr) - info.st_mtime, 100);
    CHECK_GE(time(nullptr) - info.st_mtime, -2);
}

TEST("stat_types") {
    scratch();
    OK(mkdir("folder", 0700));
    OK(mkfifo("fifo", 0600));
    OK(symlink("x", "link"));
    CHECK(S_ISDIR(info_of("folder").st_mode));
    CHECK(S_ISFIFO(info_of("fifo").st_mode));
    CHECK(S_ISLNK(info_of("link").st_mode));
    struct stat null = info_of("/dev/null");
    CHECK(S_ISCHR(null.st_mode));
    CHECK_EQ(null.st_rdev, makedev(1, 3));
}

TEST("fstat_equals_stat") {
    scratch();
    CHECK(write_file("file", "12345"));
    int fd = OK(open("file", O_RDONLY));
    struct stat a = info_of("file"), b;
    OK(fstat(fd, &b));
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK_EQ(a.st_dev, b.st_dev);
    CHECK_EQ(a.st_size, b.st_size);
    OK(fstatat(fd, "", &b, AT_EMPTY_PATH));
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK_ERRNO(fstatat(fd, "", &b, 0), ENOENT);
    CHECK_ERRNO(fstat(199, &b), EBADF);
    CHECK_ERRNO(fstatat(AT_FDCWD, "file", &b, 0x8000000), EINVAL);
}

TEST("statx_basic") {
    scratch();
    CHECK(write_file("file", "12345", 0604));
    struct statx info;
    int result = statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS, &info);
    if (result < 0 && errno == ENOSYS) SKIP("no statx");
    CHECK_EQ(result, 0);
    CHECK_EQ(info.stx_size, 5);
    CHECK_EQ(info.stx_mode & 07777, 0604);
    CHECK_EQ(info.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
}

TEST("different_files_different_inodes") {
    scratch();
    CHECK(write_file("a", "x"));
    CHECK(write_file("b", "x"));
    CHECK_NE(info_of("a").st_ino, info_of("b").st_ino);
    CHECK_NE(info_of("/proc").st_dev, info_of("a").st_dev);
}

TEST("chmod_and_fchmod") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(chmod("file", 0751));
    CHECK_EQ(info_of("file").st_mode & 07777, 0751);
    int fd = OK(open("file", O_RDONLY));
    OK(fchmod(fd, 0600));
    CHECK_EQ(info_of("file").st_mode & 07777, 0600);
    OK(chmod("file", 06755));
    CHECK_EQ(info_of("file").st_mode & 07777, 06755);
    CHECK_ERRNO(chmod("none", 0), ENOENT);
    OK(mkdir("folder", 0700));
    OK(chmod("folder", 01777));
    CHECK_EQ(info_of("folder").st_mode & 07777, 01777);
}

TEST("chmod_follows_symlink") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(symlink("file", "link"));
    OK(chmod("link", 0711));
    CHECK_EQ(info_of("file").st_mode & 07777, 0711);
}

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

TEST("fchmodat2_has_flags") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(symlink("file", "link"));
    const auto change = [](int fd, const char* path, mode_t mode, int flags) {
        return static_cast<int>(syscall(SYS_fchmodat2, fd, path, mode, flags));
    };
    if (change(AT_FDCWD, "file", 0600, 0) != 0 && errno == ENOSYS) SKIP("this kernel has no fchmodat2");
    OK(change(AT_FDCWD, "link", 0711, 0));
    CHECK_EQ(info_of("file").st_mode & 07777, 0711);
    OK(change(AT_FDCWD, "file", 0640, AT_SYMLINK_NOFOLLOW));
    CHECK_EQ(info_of("file").st_mode & 07777, 0640);
    CHECK_ERRNO(change(AT_FDCWD, "link", 0600, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
    const int fd = OK(open("file", O_PATH));
    OK(change(fd, "", 0604, AT_EMPTY_PATH));
    CHECK_EQ(info_of("file").st_mode & 07777, 0604);
    CHECK_ERRNO(change(fd, "", 0600, 0), ENOENT);
    CHECK_ERRNO(change(AT_FDCWD, "file", 0600, 1), EINVAL);
    CHECK_ERRNO(change(999, "file", 0600, 0), EBADF);
    CHECK_ERRNO(change(AT_FDCWD, nullptr, 0600, 0), EFAULT);
    CHECK_ERRNO(change(AT_FDCWD, "none", 0600, 0), ENOENT);
}

TEST("chown_and_lchown") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(symlink("file", "link"));
    OK(chown("file", 10, 20));
    CHECK_EQ(info_of("file").st_uid, 10);
    CHECK_EQ(info_of("file").st_gid, 20);
    OK(chown("file", static_cast<uid_t>(-1), 30));
    CHECK_EQ(info_of("file").st_uid, 10);
    CHECK_EQ(info_of("file").st_gid, 30);
    OK(lchown("link", 7, 8));
    CHECK_EQ(info_of("link").st_uid, 7);
    CHECK_EQ(info_of("file").st_uid, 10);
    OK(chown("link", 11, 12));
    CHECK_EQ(info_of("file").st_uid, 11);
    int fd = OK(open("file", O_RDONLY));
    OK(fchown(fd, 0, 0));
    CHECK_EQ(info_of("file").st_uid, 0);
}

TEST("chown_by_user_clears_setuid_and_is_limited") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(chown("file", 1000, 1000));
    OK(chmod("file", 06755));
    as_user(1000, 1000, [] {
        CHECK_ERRNO(chown("file", 0, static_cast<gid_t>(-1)), EPERM);
        CHECK_ERRNO(chown("file", static_cast<uid_t>(-1), 55), EPERM);
        OK(chown("file", static_cast<uid_t>(-1), 1000));
    });
    CHECK_EQ(info_of("file").st_mode & 07777, 0755);
}

TEST("write_by_user_clears_setuid") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(chown("file", 1000, 1000));
    OK(chmod("file", 04777));
    as_user(2000, 2000, [] {
        int fd = OK(open("file", O_WRONLY));
        CHECK_EQ(write(fd, "y", 1), 1);
    });
    CHECK_EQ(info_of("file").st_mode & 07777, 0777);
}

TEST("new_files_belong_to_creator") {
    scratch();
    as_user(1000, 1001, [] {
        CHECK(write_file("file", "x"));
        OK(mkdir("folder", 0700));
        OK(symlink("x", "link"));
        OK(mkfifo("fifo", 0600));
    });
    for (const char* path : {"file", "folder", "link", "fifo"}) {
        CHECK_EQ(info_of(path).st_uid, 1000);
        CHECK_EQ(info_of(path).st_gid, 1001);
    }
}

TEST("setgid_folder_gives_its_group") {
    scratch();
    OK(mkdir("folder", 0777));
    OK(chown("folder", 0, 77));
    OK(chmod("folder", 02777));
    CHECK(write_file("folder/file", "x"));
    OK(mkdir("folder/inner", 0755));
    CHECK_EQ(info_of("folder/file").st_gid, 77);
    CHECK_EQ(info_of("folder/inner").st_gid, 77);
    CHECK_EQ(info_of("folder/inner").st_mode & 02000, 02000);
}

TEST("permissions_of_other_user") {
    scratch();
    CHECK(write_file("secret", "x", 0600));
    CHECK(write_file("readable", "x", 0644));
    CHECK(write_file("group", "x", 0640));
    OK(chown("group", 0, 50));
    as_user(1000, 50, [] {
        CHECK_ERRNO(open("secret", O_RDONLY), EACCES);
        OK(open("readable", O_RDONLY));
        CHECK_ERRNO(open("readable", O_WRONLY), EACCES);
        CHECK_ERRNO(open("readable", O_RDONLY | O_TRUNC), EACCES);
        OK(open("group", O_RDONLY));
        CHECK_ERRNO(open("group", O_WRONLY), EACCES);
        CHECK_ERRNO(chmod("readable", 0777), EPERM);
        CHECK_ERRNO(truncate("readable", 0), EACCES);
    });
}

TEST("owner_without_bit_is_refused_although_others_may") {
    scratch();
    CHECK(write_file("file", "x", 0044));
    OK(chown("file", 1000, 1000));
    as_user(1000, 1000, [] { CHECK_ERRNO(open("file", O_RDONLY), EACCES); });
    as_user(1001, 1001, [] { OK(open("file", O_RDONLY)); });
}

TEST("supplementary_group_counts") {
    scratch();
    CHECK(write_file("file", "x", 0640));
    OK(chown("file", 0, 60));
    CHECK_EXITED(run_child([] {
                     gid_t groups[] = {60};
                     OK(setgroups(1, groups));
                     OK(setresuid(1000, 1000, 1000));
                     OK(open("file", O_RDONLY));
                 }),
                 0);
}

TEST("folder_permissions") {
    scratch();
    OK(mkdir("closed", 0700));
    CHECK(write_file("closed/file", "x", 0666));
    OK(mkdir("listable", 0744));
    CHECK(write_file("listable/file", "x", 0666));
    OK(mkdir("passable", 0711));
    CHECK(write_file("passable/file", "x", 0666));
    OK(mkdir("readonly", 0755));
    CHECK(write_file("readonly/file", "x", 0666));
    as_user(1000, 1000, [] {
        CHECK_ERRNO(open("closed/file", O_RDONLY), EACCES);
        CHECK_ERRNO(open("closed", O_RDONLY), EACCES);
        OK(open("listable", O_RDONLY));
        CHECK_ERRNO(open("listable/file", O_RDONLY), EACCES);
        OK(open("passable/file", O_RDONLY));
        CHECK_ERRNO(open("passable", O_RDONLY), EACCES);
        CHECK_ERRNO(open("readonly/new", O_WRONLY | O_CREAT, 0600), EACCES);
        CHECK_ERRNO(mkdir("readonly/new", 0700), EACCES);
        CHECK_ERRNO(unlink("readonly/file"), EACCES);
        CHECK_ERRNO(rename("readonly/file", "moved"), EACCES);
        CHECK_ERRNO(link("passable/file", "readonly/link"), EACCES);
        CHECK_ERRNO(chdir("closed"), EACCES);
    });
}

TEST("sticky_folder_protects_names") {
    scratch();
    OK(mkdir("sticky", 0777));
    OK(chmod("sticky", 01777));
    CHECK(write_file("sticky/root", "x", 0666));
    as_user(1000, 1000, [] {
        CHECK(write_file("sticky/mine", "x"));
        CHECK_ERRNO(unlink("sticky/root"), EPERM);
        CHECK_ERRNO(rename("sticky/root", "sticky/x"), EPERM);
    });
    as_user(1001, 1001, [] { CHECK_ERRNO(unlink("sticky/mine"), EPERM); });
    as_user(1000, 1000, [] { OK(unlink("sticky/mine")); });
}

TEST("root_passes_permissions") {
    scratch();
    CHECK(write_file("file", "x", 0000));
    OK(chown("file", 1000, 1000));
    OK(open("file", O_RDWR));
    OK(access("file", R_OK | W_OK));
    CHECK_ERRNO(access("file", X_OK), EACCES);
}

TEST("access_uses_real_ids") {
    scratch();
    CHECK(write_file("file", "x", 0600));
    CHECK_EXITED(run_child([] {
                     OK(setresuid(1000, 0, 0));
                     CHECK_ERRNO(access("file", R_OK), EACCES);
                     OK(faccessat(AT_FDCWD, "file", R_OK, AT_EACCESS));
                     OK(open("file", O_RDONLY));
                 }),
                 0);
    CHECK_ERRNO(access("none", F_OK), ENOENT);
    CHECK_ERRNO(access("file", 99), EINVAL);
}

TEST("utimensat_sets_times") {
    scratch();
    CHECK(write_file("file", "x"));
    timespec times[2] = {{1000000000, 123456789}, {1500000000, 987654321}};
    OK(utimensat(AT_FDCWD, "file", times, 0));
    struct stat info = info_of("file");
    CHECK_EQ(info.st_atim.tv_sec, 1000000000);
    CHECK_EQ(info.st_atim.tv_nsec, 123456789);
    CHECK_EQ(info.st_mtim.tv_sec, 1500000000);
    CHECK_EQ(info.st_mtim.tv_nsec, 987654321);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    OK(utimensat(AT_FDCWD, "file", times, 0));
    info = info_of("file");
    CHECK_EQ(info.st_atim.tv_sec, 1000000000);
    CHECK_GT(info.st_mtim.tv_sec, 1700000000);
    times[0].tv_nsec = 2000000000;
    CHECK_ERRNO(utimensat(AT_FDCWD, "file", times, 0), EINVAL);
}

TEST("futimens_and_symlink_times") {
    scratch();
    CHECK(write_file("file", "x"));
    int fd = OK(open("file", O_RDONLY));
    timespec times[2] = {{1, 0}, {2, 0}};
    OK(futimens(fd, times));
    CHECK_EQ(info_of("file").st_mtime, 2);
    OK(symlink("file", "link"));
    times[1].tv_sec = 3;
    OK(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
    CHECK_EQ(info_of("link").st_mtime, 3);
    CHECK_EQ(info_of("file").st_mtime, 2);
}

TEST("utimes_permission") {
    scratch();
    CHECK(write_file("file", "x", 0666));
    CHECK(write_file("closed", "x", 0644));
    as_user(1000, 1000, [] {
        OK(utimensat(AT_FDCWD, "file", nullptr, 0));
        timespec times[2] = {{1, 0}, {2, 0}};
        CHECK_ERRNO(utimensat(AT_FDCWD, "file", times, 0), EPERM);
        CHECK_ERRNO(utimensat(AT_FDCWD, "closed", nullptr, 0), EACCES);
    });
}

TEST("write_updates_mtime_and_ctime") {
    scratch();
    CHECK(write_file("file", "x"));
    timespec times[2] = {{1000, 0}, {1000, 0}};
    OK(utimensat(AT_FDCWD, "file", times, 0));
    int fd = OK(open("file", O_WRONLY | O_APPEND));
    CHECK_EQ(write(fd, "y", 1), 1);
    OK(close(fd));
    CHECK_GT(info_of("file").st_mtime, 1000000);
    OK(utimensat(AT_FDCWD, "file", times, 0));
    CHECK_GT(info_of("file").st_ctime, 1000000);
}

TEST("folder_mtime_changes_with_names") {
    scratch();
    OK(mkdir("folder", 0700));
    timespec times[2] = {{1000, 0}, {1000, 0}};
    OK(utimensat(AT_FDCWD, "folder", times, 0));
    CHECK(write_file("folder/file", "x"));
    CHECK_GT(info_of("folder").st_mtime, 1000000);
    OK(utimensat(AT_FDCWD, "folder", times, 0));
    OK(unlink("folder/file"));
    CHECK_GT(info_of("folder").st_mtime, 1000000);
}

TEST("mknod_fifo_and_regular") {
    scratch();
    OK(mknod("fifo", S_IFIFO | 0600, 0));
    OK(mknod("file", S_IFREG | 0600, 0));
    CHECK(S_ISFIFO(info_of("fifo").st_mode));
    CHECK(S_ISREG(info_of("file").st_mode));
    CHECK_ERRNO(mknod("file", S_IFREG | 0600, 0), EEXIST);
    as_user(1000, 1000, [] { CHECK_ERRNO(mknod("device", S_IFCHR | 0600, makedev(1, 3)), EPERM); });
}
