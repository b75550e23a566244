// openat2's RESOLVE_ flags, and files without a name (O_TMPFILE, on the tmpfs of /tmp).
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <string>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

int open2(int directory, const char* path, uint64_t flags, uint64_t resolve, uint64_t mode = 0) {
    struct open_how how = {};
    how.flags = flags, how.mode = mode, how.resolve = resolve;
    return static_cast<int>(syscall(SYS_openat2, directory, path, &how, sizeof(how)));
}

// folder/{file,link -> ../outside,up -> ..,absolute -> /inside,near -> file}, outside
int make_tree() {
    scratch();
    OK(mkdir("folder", 0755));
    CHECK(write_file("folder/file", "in"));
    CHECK(write_file("folder/inside", "root"));
    CHECK(write_file("outside", "out"));
    OK(symlink("../outside", "folder/link"));
    OK(symlink("/inside", "folder/absolute"));
    OK(symlink("file", "folder/near"));
    return OK(open("folder", O_PATH | O_DIRECTORY));
}

std::string tmpfs_folder() {
    char path[] = "/tmp/unnamedXXXXXX";
    CHECK(mkdtemp(path) != nullptr);
    OK(chdir(path));
    return path;
}

}  // namespace

TEST("resolve_beneath_stays_below") {
    int folder = make_tree();
    OK(open2(folder, "file", O_RDONLY, RESOLVE_BENEATH));
    OK(open2(folder, "near", O_RDONLY, RESOLVE_BENEATH));
    CHECK_ERRNO(open2(folder, "../outside", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_ERRNO(open2(folder, "link", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_ERRNO(open2(folder, "absolute", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_ERRNO(open2(folder, "/tmp", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_ERRNO(open2(folder, "..", O_PATH, RESOLVE_BENEATH), EXDEV);
}

TEST("resolve_in_root_takes_the_descriptor_as_root") {
    int folder = make_tree();
    char text[8] = {};
    int fd = OK(open2(folder, "absolute", O_RDONLY, RESOLVE_IN_ROOT));
    CHECK_EQ(read(fd, text, 4), 4);
    CHECK_STREQ(text, "root");
    OK(open2(folder, "/file", O_RDONLY, RESOLVE_IN_ROOT));
    OK(open2(folder, "../../file", O_RDONLY, RESOLVE_IN_ROOT));
    CHECK_ERRNO(open2(folder, "link", O_RDONLY, RESOLVE_IN_ROOT), ENOENT);
}

TEST("resolve_no_symlinks_is_eloop") {
    int folder = make_tree();
    OK(open2(folder, "file", O_RDONLY, RESOLVE_NO_SYMLINKS));
    CHECK_ERRNO(open2(folder, "near", O_RDONLY, RESOLVE_NO_SYMLINKS), ELOOP);
    OK(open2(folder, "near", O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS));
}

TEST("resolve_no_magiclinks_is_eloop") {
    int folder = make_tree();
    const std::string path = "/proc/self/fd/" + std::to_string(folder);
    OK(open2(AT_FDCWD, path.c_str(), O_PATH, 0));
    CHECK_ERRNO(open2(AT_FDCWD, path.c_str(), O_PATH, RESOLVE_NO_MAGICLINKS), ELOOP);
    OK(open2(folder, "near", O_RDONLY, RESOLVE_NO_MAGICLINKS));
}

TEST("resolve_no_xdev_stays_in_the_mount") {
    make_tree();
    int root = OK(open("/", O_PATH));
    CHECK_ERRNO(open2(root, "proc/self", O_PATH, RESOLVE_NO_XDEV), EXDEV);
    CHECK_ERRNO(open2(root, "dev", O_PATH, RESOLVE_NO_XDEV), EXDEV);
    OK(open2(root, "bin", O_PATH, RESOLVE_NO_XDEV));
    CHECK_ERRNO(open2(OK(open("/proc", O_PATH)), "..", O_PATH, RESOLVE_NO_XDEV), EXDEV);
}

TEST("openat2_refuses_what_open_ignores") {
    int folder = make_tree();
    CHECK_ERRNO(open2(folder, "file", O_RDONLY, 0x80), EINVAL);
    CHECK_ERRNO(open2(folder, "file", O_RDONLY, RESOLVE_BENEATH | RESOLVE_IN_ROOT), EINVAL);
    CHECK_ERRNO(open2(folder, "file", O_RDONLY, 0, 0644), EINVAL);
    CHECK_ERRNO(open2(folder, "file", 1ULL << 40, 0), EINVAL);
    CHECK_ERRNO(open2(folder, "file", O_PATH | O_RDWR, 0), EINVAL);
    CHECK_ERRNO(open2(folder, "new", O_CREAT | O_RDWR, RESOLVE_CACHED, 0644), EAGAIN);
}

TEST("unnamed_file_has_no_link_and_is_shown_as_deleted") {
    tmpfs_folder();
    int fd = OK(open(".", O_TMPFILE | O_RDWR, 0640));
    struct stat info;
    OK(fstat(fd, &info));
    CHECK_EQ(info.st_nlink, 0);
    CHECK(S_ISREG(info.st_mode));
    CHECK_EQ(info.st_mode & 0777, 0640);
    OK(write(fd, "abc", 3));
    char text[300] = {};
    CHECK_EQ(pread(fd, text, 10, 0), 3);
    OK(readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), text, sizeof(text) - 1));
    CHECK(std::string(text).ends_with(" (deleted)"));
}

TEST("unnamed_file_gets_a_name_by_linkat") {
    tmpfs_folder();
    int fd = OK(open(".", O_TMPFILE | O_RDWR, 0600));
    OK(write(fd, "abc", 3));
    OK(linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str(), AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    char text[8] = {};
    CHECK_EQ(read_file("named", text, sizeof(text)), 3);
    struct stat info;
    OK(fstat(fd, &info));
    CHECK_EQ(info.st_nlink, 1);
    int second = OK(open(".", O_TMPFILE | O_WRONLY, 0600));
    OK(linkat(second, "", AT_FDCWD, "second", AT_EMPTY_PATH));
    OK(access("second", F_OK));
}

TEST("unnamed_file_with_o_excl_keeps_without_a_name") {
    tmpfs_folder();
    int fd = OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
    CHECK_ERRNO(linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str(), AT_FDCWD, "named", AT_SYMLINK_FOLLOW),
                ENOENT);
}

TEST("unlinked_file_gets_no_name_again") {
    tmpfs_folder();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    OK(unlink("file"));
    CHECK_ERRNO(linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH), ENOENT);
}

TEST("o_tmpfile_errors") {
    tmpfs_folder();
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    CHECK_ERRNO(open("file", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
    CHECK_ERRNO(open("none", O_TMPFILE | O_RDWR, 0600), ENOENT);
    OK(chmod(".", 0755));
    CHECK_EXITED(run_child([] {
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_ERRNO(open(".", O_TMPFILE | O_RDWR, 0600), EACCES);
                 }),
                 0);
}
