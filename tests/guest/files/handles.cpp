// File handles, whiteouts, allocation, listings with many files.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <cstdlib>
#include <string>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

struct Handle {
    unsigned size = 128;
    int type = 0;
    unsigned char bytes[128] = {};
};

int name_to_handle(int directory, const char* path, void* handle, void* mount, int flags) {
    return static_cast<int>(syscall(SYS_name_to_handle_at, directory, path, handle, mount, flags));
}
int open_handle(int directory, const void* handle, int flags) {
    return static_cast<int>(syscall(SYS_open_by_handle_at, directory, handle, flags));
}

// Not the bundle's files, which may lie on a tmpfs of the host.
bool on_tmpfs() { return strncmp(getenv("GUEST_DIR"), "/tmp", 4) == 0; }

void pattern_file(int size) {
    const std::string text(static_cast<size_t>(size), 'x');
    CHECK(write_file("file", text.c_str()));
}

}  // namespace

TEST("handle_arguments") {
    scratch();
    Handle handle;
    int mount = 0;
    CHECK_ERRNO(name_to_handle(AT_FDCWD, ".", &handle, &mount, 0x10), EINVAL);
    CHECK_ERRNO(name_to_handle(AT_FDCWD, "missing", &handle, &mount, 0), ENOENT);
    CHECK_ERRNO(name_to_handle(AT_FDCWD, "", &handle, &mount, 0), ENOENT);
    CHECK_ERRNO(name_to_handle(199, ".", &handle, &mount, 0), EBADF);
    CHECK_ERRNO(name_to_handle(AT_FDCWD, "/proc/self/status", &handle, &mount, 0), EOPNOTSUPP);
    CHECK_ERRNO(open_handle(199, nullptr, O_RDONLY), EFAULT);
    handle.size = 0;
    CHECK_ERRNO(open_handle(AT_FDCWD, &handle, O_RDONLY), EINVAL);
    handle.size = 129;
    CHECK_ERRNO(open_handle(AT_FDCWD, &handle, O_RDONLY), EINVAL);
    handle.size = 12;
    CHECK_ERRNO(open_handle(199, &handle, O_RDONLY), EBADF);
}

TEST("handle_of_tmpfs") {
    scratch();
    if (!on_tmpfs()) SKIP("another file system");
    OK(mkdir("deep", 0755));
    OK(mkdir("deep/er", 0755));
    CHECK(write_file("deep/er/file", "found"));
    Handle handle;
    int mount = 0;
    handle.size = 0;
    CHECK_ERRNO(name_to_handle(AT_FDCWD, "deep/er/file", &handle, &mount, 0), EOVERFLOW);
    CHECK_EQ(handle.size, 12);
    CHECK_GT(mount, 0);
    OK(name_to_handle(AT_FDCWD, "deep/er/file", &handle, &mount, 0));
    CHECK_EQ(handle.size, 12);
    CHECK_EQ(handle.type, 1);
    handle.size = 129;
    CHECK_ERRNO(name_to_handle(AT_FDCWD, "deep", &handle, &mount, 0), EINVAL);
    handle.size = 128;
    CHECK_ERRNO(name_to_handle(AT_FDCWD, "deep", reinterpret_cast<void*>(8), &mount, 0), EFAULT);
    CHECK_ERRNO(name_to_handle(AT_FDCWD, "deep", &handle, reinterpret_cast<void*>(8), 0), EFAULT);
    OK(name_to_handle(AT_FDCWD, "deep/er/file", &handle, &mount, 0));
    OK(rename("deep/er/file", "deep/moved"));
    const int fd = OK(open_handle(AT_FDCWD, &handle, O_RDONLY));
    char text[8] = {};
    CHECK_EQ(read(fd, text, sizeof text), 5);
    CHECK_STREQ(text, "found");
    OK(close(fd));
    const int directory = OK(open("/tmp", O_RDONLY));
    OK(close(OK(open_handle(directory, &handle, O_RDWR | O_CLOEXEC))));
    OK(unlink("deep/moved"));
    CHECK_ERRNO(open_handle(AT_FDCWD, &handle, O_RDONLY), ESTALE);
    const int proc = OK(open("/proc", O_RDONLY));
    CHECK_ERRNO(open_handle(proc, &handle, O_RDONLY), ESTALE);
    OK(name_to_handle(AT_FDCWD, "deep", &handle, &mount, 0));
    CHECK_ERRNO(open_handle(AT_FDCWD, &handle, O_WRONLY), EISDIR);
    OK(setresgid(1000, 1000, 1000));
    OK(setresuid(1000, 1000, 1000));
    CHECK_ERRNO(open_handle(AT_FDCWD, &handle, O_RDONLY), EPERM);
}

TEST("rename_leaves_a_whiteout") {
    scratch();
    CHECK(write_file("a", "a"));
    CHECK_ERRNO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT | RENAME_EXCHANGE), EINVAL);
    const int result = renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT);
    if (result < 0 && errno == EINVAL && !on_tmpfs()) SKIP("no whiteouts");
    CHECK_EQ(result, 0);
    struct stat status;
    OK(lstat("a", &status));
    CHECK(S_ISCHR(status.st_mode));
    CHECK_EQ(status.st_rdev, makedev(0, 0));
    CHECK_EQ(access("b", F_OK), 0);
    OK(unlink("a"));
}

TEST("a_whiteout_is_no_device") {
    scratch();
    OK(setresuid(1000, 1000, 1000));
    OK(mknod("white", S_IFCHR, makedev(0, 0)));
    CHECK_ERRNO(mknod("null", S_IFCHR, makedev(1, 3)), EPERM);
}

TEST("exchange_swaps_files_and_folders") {
    scratch();
    CHECK(write_file("file", "1"));
    OK(mkdir("folder", 0755));
    CHECK(write_file("folder/inside", "2"));
    OK(renameat2(AT_FDCWD, "file", AT_FDCWD, "folder", RENAME_EXCHANGE));
    CHECK_EQ(access("file/inside", F_OK), 0);
    struct stat status;
    OK(stat("folder", &status));
    CHECK(S_ISREG(status.st_mode));
    CHECK_EQ(status.st_nlink, 1);
    CHECK_ERRNO(renameat2(AT_FDCWD, "file", AT_FDCWD, "missing", RENAME_EXCHANGE), ENOENT);
}

TEST("fallocate_modes") {
    scratch();
    pattern_file(10000);
    const int fd = OK(open("file", O_RDWR));
    struct stat status;
    OK(fallocate(fd, 0, 0, 20000));
    OK(fstat(fd, &status));
    CHECK_EQ(status.st_size, 20000);
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 50000));
    OK(fstat(fd, &status));
    CHECK_EQ(status.st_size, 20000);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 8000));
    char bytes[10000];
    CHECK_EQ(pread(fd, bytes, sizeof bytes, 0), 10000);
    CHECK_EQ(bytes[99], 'x');
    CHECK_EQ(bytes[100], 0);
    CHECK_EQ(bytes[8099], 0);
    CHECK_EQ(bytes[8100], 'x');
    CHECK_ERRNO(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 100), EOPNOTSUPP);
    CHECK_ERRNO(fallocate(fd, 0, -1, 100), EINVAL);
    CHECK_ERRNO(fallocate(fd, 0, 0, 0), EINVAL);
    const int reading = OK(open("file", O_RDONLY));
    CHECK_ERRNO(fallocate(reading, 0, 0, 100), EBADF);
}

TEST("fallocate_after_a_write_that_is_not_flushed") {
    scratch();
    const int fd = OK(open("file", O_RDWR | O_CREAT, 0644));
    CHECK_EQ(write(fd, "hello", 5), 5);
    OK(fallocate(fd, 0, 0, 4096));
    char bytes[16] = {};
    CHECK_EQ(pread(fd, bytes, 8, 0), 8);
    CHECK_STREQ(bytes, "hello");
    struct stat status;
    OK(stat("file", &status));
    CHECK_EQ(status.st_size, 4096);
}

TEST("listed_files_are_what_they_were") {
    scratch();
    for (int i = 0; i < 50; ++i)
        CHECK(write_file(std::to_string(i).c_str(), std::string(static_cast<size_t>(i), 'x').c_str()));
    OK(mkdir("folder", 0755));
    DIR* directory = opendir(".");
    CHECK(directory != nullptr);
    int seen = 0;
    while (dirent* entry = readdir(directory)) {
        ++seen;
        if (entry->d_type != DT_REG) continue;
        struct stat status;
        OK(stat(entry->d_name, &status));
        CHECK_EQ(status.st_size, atoi(entry->d_name));
        CHECK_EQ(status.st_ino, entry->d_ino);
    }
    CHECK_EQ(seen, 53);
    rewinddir(directory);
    OK(truncate("7", 1000));
    OK(rename("8", "eight"));
    OK(chmod("9", 0600));
    OK(unlink("10"));
    OK(link("11", "folder/eleven"));
    struct stat status;
    OK(stat("7", &status));
    CHECK_EQ(status.st_size, 1000);
    CHECK_ERRNO(stat("8", &status), ENOENT);
    CHECK_ERRNO(stat("10", &status), ENOENT);
    OK(stat("9", &status));
    CHECK_EQ(status.st_mode & 0777, 0600);
    OK(stat("11", &status));
    CHECK_EQ(status.st_nlink, 2);
    OK(stat("eight", &status));
    CHECK_EQ(status.st_size, 8);
    closedir(directory);
}

TEST("reading_a_directory_in_small_steps") {
    scratch();
    for (int i = 0; i < 40; ++i) CHECK(write_file(("name" + std::to_string(i)).c_str(), ""));
    const int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
    char entries[100];
    int seen = 0;
    for (long n; (n = OK(syscall(SYS_getdents64, fd, entries, sizeof entries))) > 0;)
        for (long at = 0; at < n; at += reinterpret_cast<dirent64*>(entries + at)->d_reclen) ++seen;
    CHECK_EQ(seen, 42);
}
