// Names: link, symlink, rename, unlink, folders, paths and their limits, getdents64.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
std::vector<std::string> names_in(const char* path) {
    std::vector<std::string> names;
    DIR* directory = opendir(path);
    CHECK(directory != nullptr);
    while (dirent* entry = readdir(directory)) names.emplace_back(entry->d_name);
    closedir(directory);
    std::sort(names.begin(), names.end());
    return names;
}

ino_t inode_of(const char* path) {
    struct stat info;
    OK(lstat(path, &info));
    return info.st_ino;
}

nlink_t links_of(const char* path) {
    struct stat info;
    OK(lstat(path, &info));
    return info.st_nlink;
}

std::string link_text(const char* path) {
    char target[4096];
    ssize_t n = OK(readlink(path, target, sizeof(target)));
    return std::string(target, static_cast<size_t>(n));
}
}  // namespace

TEST("hard_link_shares_inode") {
    scratch();
    CHECK(write_file("a", "x"));
    OK(link("a", "b"));
    CHECK_EQ(inode_of("a"), inode_of("b"));
    CHECK_EQ(links_of("a"), 2);
    OK(unlink("a"));
    CHECK_EQ(links_of("b"), 1);
}

TEST("link_errors") {
    scratch();
    CHECK(write_file("a", "x"));
    CHECK(write_file("b", "x"));
    OK(mkdir("folder", 0700));
    CHECK_ERRNO(link("a", "b"), EEXIST);
    CHECK_ERRNO(link("none", "c"), ENOENT);
    CHECK_ERRNO(link("folder", "c"), EPERM);
    CHECK_ERRNO(link("a", "none/c"), ENOENT);
    CHECK_ERRNO(link("a", "b/c"), ENOTDIR);
    CHECK_ERRNO(link("a", "/dev/x"), EXDEV);
}

TEST("link_of_symlink_itself") {
    scratch();
    OK(symlink("target", "link"));
    OK(link("link", "copy"));
    CHECK_STREQ(link_text("copy").c_str(), "target");
}

TEST("symlink_and_readlink") {
    scratch();
    OK(symlink("some/target", "link"));
    CHECK_STREQ(link_text("link").c_str(), "some/target");
    struct stat info;
    OK(lstat("link", &info));
    CHECK(S_ISLNK(info.st_mode));
    CHECK_EQ(info.st_size, 11);
    CHECK_EQ(info.st_mode & 0777, 0777);
    CHECK_ERRNO(stat("link", &info), ENOENT);
    char small[4] = {};
    CHECK_EQ(readlink("link", small, 3), 3);
    CHECK_STREQ(small, "som");
}

TEST("symlink_errors") {
    scratch();
    CHECK(write_file("a", "x"));
    char target[10];
    CHECK_ERRNO(symlink("x", "a"), EEXIST);
    CHECK_ERRNO(symlink("", "b"), ENOENT);
    CHECK_ERRNO(readlink("a", target, 10), EINVAL);
    CHECK_ERRNO(readlink("none", target, 10), ENOENT);
    OK(symlink("x", "l"));
    CHECK_ERRNO(readlink("l", target, 0), EINVAL);
    CHECK_ERRNO(readlink("l", target, static_cast<size_t>(-1)), EINVAL);
}

TEST("symlink_walks") {
    scratch();
    OK(mkdir("folder", 0700));
    CHECK(write_file("folder/file", "x"));
    OK(symlink("folder", "a"));
    OK(symlink("a", "b"));
    OK(symlink("b/file", "c"));
    OK(access("b/file", F_OK));
    OK(access("c", F_OK));
    OK(symlink("../folder/../folder/file", "folder/up"));
    OK(access("folder/up", F_OK));
    char path[300];
    CHECK(getcwd(path, sizeof(path)) != nullptr);
    OK(symlink((std::string(path) + "/folder/file").c_str(), "absolute"));
    OK(access("absolute", F_OK));
}

TEST("symlink_loop_is_eloop") {
    scratch();
    OK(symlink("b", "a"));
    OK(symlink("a", "b"));
    CHECK_ERRNO(open("a", O_RDONLY), ELOOP);
    struct stat info;
    CHECK_ERRNO(stat("a/x", &info), ELOOP);
    OK(lstat("a", &info));
}

TEST("symlink_chain_of_40_is_limit") {
    scratch();
    CHECK(write_file("l0", "x"));
    for (int i = 1; i <= 41; i++) OK(symlink(("l" + std::to_string(i - 1)).c_str(), ("l" + std::to_string(i)).c_str()));
    OK(access("l40", F_OK));
    CHECK_ERRNO(access("l41", F_OK), ELOOP);
}

TEST("trailing_slash_rules") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(mkdir("folder", 0700));
    OK(symlink("folder", "link"));
    struct stat info;
    CHECK_ERRNO(stat("file/", &info), ENOTDIR);
    CHECK_ERRNO(open("file/", O_RDONLY), ENOTDIR);
    OK(stat("folder/", &info));
    OK(lstat("link/", &info));
    CHECK(S_ISDIR(info.st_mode));
    CHECK_ERRNO(unlink("link/"), ENOTDIR);
    OK(mkdir("new/", 0700));
    CHECK_ERRNO(open("fresh/", O_WRONLY | O_CREAT, 0600), EISDIR);
    OK(stat("folder//./../folder/.", &info));
}

TEST("dots_in_path") {
    scratch();
    OK(mkdir("a", 0700));
    OK(mkdir("a/b", 0700));
    CHECK_EQ(inode_of("a/b/.."), inode_of("a"));
    CHECK_EQ(inode_of("a/b/../../a/./b"), inode_of("a/b"));
    CHECK_EQ(inode_of("/.."), inode_of("/"));
    CHECK_EQ(inode_of("/../../.."), inode_of("/"));
}

TEST("rename_basic") {
    scratch();
    CHECK(write_file("a", "content"));
    ino_t inode = inode_of("a");
    OK(rename("a", "b"));
    CHECK_ERRNO(access("a", F_OK), ENOENT);
    CHECK_EQ(inode_of("b"), inode);
}

TEST("rename_replaces_file") {
    scratch();
    CHECK(write_file("a", "new"));
    CHECK(write_file("b", "old"));
    int fd = OK(open("b", O_RDONLY));
    OK(rename("a", "b"));
    char text[10] = {};
    CHECK_EQ(read(fd, text, 10), 3);
    CHECK_STREQ(text, "old");
    CHECK_EQ(read_file("b", text, sizeof(text)), 3);
    CHECK_STREQ(text, "new");
}

TEST("rename_open_file_stays_usable") {
    scratch();
    int fd = OK(open("a", O_RDWR | O_CREAT, 0600));
    OK(mkdir("folder", 0700));
    OK(rename("a", "folder/b"));
    CHECK_EQ(write(fd, "abc", 3), 3);
    char text[10] = {};
    CHECK_EQ(read_file("folder/b", text, sizeof(text)), 3);
    CHECK_STREQ(text, "abc");
}

TEST("rename_folders") {
    scratch();
    OK(mkdir("a", 0700));
    CHECK(write_file("a/file", "x"));
    OK(rename("a", "b"));
    OK(access("b/file", F_OK));
    OK(mkdir("empty", 0700));
    OK(rename("b", "empty"));
    OK(access("empty/file", F_OK));
    OK(mkdir("full", 0700));
    CHECK(write_file("full/x", "x"));
    CHECK_ERRNO(rename("empty", "full"), ENOTEMPTY);
}

TEST("rename_errors") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(mkdir("folder", 0700));
    OK(mkdir("folder/inner", 0700));
    CHECK_ERRNO(rename("none", "x"), ENOENT);
    CHECK_ERRNO(rename("file", "folder"), EISDIR);
    CHECK_ERRNO(rename("folder", "file"), ENOTDIR);
    CHECK_ERRNO(rename("folder", "folder/inner/x"), EINVAL);
    CHECK_ERRNO(rename("file", "none/x"), ENOENT);
    CHECK_ERRNO(rename("file", "/dev/x"), EXDEV);
    CHECK(rename(".", "x") == -1 && (errno == EBUSY || errno == EINVAL));
}

TEST("rename_to_itself_and_hard_link") {
    scratch();
    CHECK(write_file("a", "x"));
    OK(rename("a", "a"));
    OK(link("a", "b"));
    OK(rename("a", "b"));  // the same file: nothing happens
    OK(access("a", F_OK));
    OK(access("b", F_OK));
}

TEST("rename_noreplace_and_exchange") {
    scratch();
    CHECK(write_file("a", "A"));
    CHECK(write_file("b", "B"));
    long result = syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 1 /* RENAME_NOREPLACE */);
    CHECK(result == -1 && (errno == EEXIST || errno == EINVAL));
    CHECK_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 0x100), EINVAL);
}

TEST("unlink_errors") {
    scratch();
    OK(mkdir("folder", 0700));
    CHECK_ERRNO(unlink("folder"), EISDIR);
    CHECK_ERRNO(unlink("none"), ENOENT);
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(unlink("file/x"), ENOTDIR);
    CHECK_ERRNO(unlink(""), ENOENT);
    CHECK_ERRNO(unlinkat(AT_FDCWD, "file", 0x1), EINVAL);
}

TEST("mkdir_errors") {
    scratch();
    OK(mkdir("folder", 0700));
    CHECK_ERRNO(mkdir("folder", 0700), EEXIST);
    CHECK_ERRNO(mkdir("none/x", 0700), ENOENT);
    CHECK_ERRNO(mkdir("", 0700), ENOENT);
    CHECK_ERRNO(mkdir("/", 0700), EEXIST);
    CHECK_ERRNO(mkdir(".", 0700), EEXIST);
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(mkdir("file", 0700), EEXIST);
    CHECK_ERRNO(mkdir("file/x", 0700), ENOTDIR);
    OK(symlink("nowhere", "link"));
    CHECK_ERRNO(mkdir("link", 0700), EEXIST);
}

TEST("rmdir_errors") {
    scratch();
    OK(mkdir("folder", 0700));
    CHECK(write_file("folder/file", "x"));
    CHECK_ERRNO(rmdir("folder"), ENOTEMPTY);
    CHECK_ERRNO(rmdir("folder/file"), ENOTDIR);
    CHECK_ERRNO(rmdir("none"), ENOENT);
    CHECK_ERRNO(rmdir("folder/."), EINVAL);
    CHECK_ERRNO(rmdir("folder/.."), ENOTEMPTY);
    OK(unlink("folder/file"));
    OK(rmdir("folder"));
    CHECK(rmdir("/") == -1 && (errno == EBUSY || errno == ENOTEMPTY));
}

TEST("folder_link_counts") {
    scratch();
    OK(mkdir("a", 0700));
    nlink_t before = links_of("a");
    OK(mkdir("a/b", 0700));
    if (links_of("a") == before && before <= 1) SKIP("file system counts no folders");
    CHECK_EQ(links_of("a"), before + 1);
    OK(rmdir("a/b"));
    CHECK_EQ(links_of("a"), before);
}

TEST("removed_cwd") {
    scratch();
    OK(mkdir("gone", 0700));
    OK(chdir("gone"));
    OK(rmdir("../gone"));
    char path[100];
    CHECK(getcwd(path, sizeof(path)) == nullptr && errno == ENOENT);
    CHECK_ERRNO(open("file", O_WRONLY | O_CREAT, 0600), ENOENT);
    OK(chdir("/"));
}

TEST("getcwd_of_a_name_that_looks_deleted") {
    scratch();
    char path[4096];
    OK(mkdir("it (deleted)", 0700));
    OK(chdir("it (deleted)"));
    CHECK_GT(syscall(SYS_getcwd, path, sizeof path), 0);
    CHECK(strstr(path, "/it (deleted)") != nullptr);
}

TEST("paths_beyond_path_max") {
    scratch();
    char path[16384];
    const std::string name(200, 'n');
    for (int i = 0; i < 25; i++) {
        OK(mkdir(name.c_str(), 0700));
        OK(chdir(name.c_str()));
    }
    CHECK_ERRNO(syscall(SYS_getcwd, path, sizeof path), ENAMETOOLONG);
    CHECK_ERRNO(readlink("/proc/self/cwd", path, sizeof path), ENAMETOOLONG);
}

TEST("getcwd_and_fchdir") {
    const char* base = scratch();
    char path[300];
    CHECK(getcwd(path, sizeof(path)) != nullptr);
    CHECK_STREQ(path, base);
    OK(mkdir("inner", 0700));
    int fd = OK(open("inner", O_RDONLY));
    OK(fchdir(fd));
    CHECK(getcwd(path, sizeof(path)) != nullptr);
    CHECK_STREQ(path, (std::string(base) + "/inner").c_str());
    CHECK(getcwd(path, 3) == nullptr && errno == ERANGE);
    CHECK_ERRNO(chdir("none"), ENOENT);
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(chdir("file"), ENOTDIR);
}

TEST("cwd_follows_rename") {
    const char* base = scratch();
    OK(mkdir("old", 0700));
    OK(chdir("old"));
    OK(rename("../old", "../new"));
    char path[300];
    CHECK(getcwd(path, sizeof(path)) != nullptr);
    CHECK_STREQ(path, (std::string(base) + "/new").c_str());
}

TEST("name_too_long") {
    scratch();
    std::string longest(255, 'a'), longer(256, 'a');
    CHECK(write_file(longest.c_str(), "x"));
    OK(access(longest.c_str(), F_OK));
    CHECK_ERRNO(open(longer.c_str(), O_RDONLY), ENAMETOOLONG);
    CHECK_ERRNO(mkdir(longer.c_str(), 0700), ENAMETOOLONG);
    CHECK_ERRNO(symlink("x", longer.c_str()), ENAMETOOLONG);
}

TEST("path_too_long") {
    std::string path;
    while (path.size() < 4094) path += "/.";
    struct stat info;
    OK(stat(path.c_str(), &info));
    path += "////";
    CHECK_ERRNO(stat(path.c_str(), &info), ENAMETOOLONG);
    scratch();
    CHECK_ERRNO(symlink(path.c_str(), "link"), ENAMETOOLONG);
}

TEST("deep_folders") {
    scratch();
    for (int i = 0; i < 60; i++) {
        OK(mkdir("d", 0700));
        OK(chdir("d"));
    }
    CHECK(write_file("bottom", "x"));
    char path[1000];
    CHECK(getcwd(path, sizeof(path)) != nullptr);
    OK(access((std::string(path) + "/bottom").c_str(), F_OK));
}

TEST("names_with_strange_bytes") {
    scratch();
    for (const char* name : {" ", "\n", "\xff\xfe", "a b\tc", "ä", "-x", "...", ":"}) {
        CHECK(write_file(name, "x"));
        OK(access(name, F_OK));
    }
    CHECK_EQ(names_in(".").size(), 10);
}

TEST("readdir_lists_all") {
    scratch();
    for (int i = 0; i < 300; i++) CHECK(write_file(("file" + std::to_string(i)).c_str(), ""));
    auto names = names_in(".");
    CHECK_EQ(names.size(), 302);
    CHECK(std::unique(names.begin(), names.end()) == names.end());
    CHECK_STREQ(names[0].c_str(), ".");
    CHECK_STREQ(names[1].c_str(), "..");
}

TEST("readdir_types_and_inodes") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(mkdir("folder", 0700));
    OK(symlink("x", "link"));
    OK(mkfifo("fifo", 0600));
    DIR* directory = opendir(".");
    int seen = 0;
    while (dirent* entry = readdir(directory)) {
        std::string name = entry->d_name;
        int expected = name == "file"     ? DT_REG
                       : name == "folder" ? DT_DIR
                       : name == "link"   ? DT_LNK
                       : name == "fifo"   ? DT_FIFO
                                          : -1;
        if (expected < 0) continue;
        CHECK(entry->d_type == expected || entry->d_type == DT_UNKNOWN);
        CHECK_EQ(entry->d_ino, inode_of(entry->d_name));
        seen++;
    }
    CHECK_EQ(seen, 4);
}

TEST("getdents_small_buffer") {
    scratch();
    for (int i = 0; i < 20; i++) CHECK(write_file(("f" + std::to_string(i)).c_str(), ""));
    int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
    alignas(8) char buffer[80];
    int count = 0;
    for (long n; (n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) != 0;) {
        CHECK_GT(n, 0);
        for (long at = 0; at < n; at += *reinterpret_cast<unsigned short*>(buffer + at + 16)) count++;
    }
    CHECK_EQ(count, 22);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_ERRNO(syscall(SYS_getdents64, fd, buffer, 8), EINVAL);
    CHECK_GT(syscall(SYS_getdents64, fd, buffer, sizeof(buffer)), 0);
    int file = OK(open("f1", O_RDONLY));
    CHECK_ERRNO(syscall(SYS_getdents64, file, buffer, sizeof(buffer)), ENOTDIR);
}

TEST("rewinddir_sees_changes") {
    scratch();
    CHECK(write_file("a", ""));
    DIR* directory = opendir(".");
    int first = 0, second = 0;
    while (readdir(directory) != nullptr) first++;
    CHECK(write_file("b", ""));
    OK(unlink("a"));
    CHECK(write_file("c", ""));
    rewinddir(directory);
    while (readdir(directory) != nullptr) second++;
    CHECK_EQ(first, 3);
    CHECK_EQ(second, 4);
}

TEST("remove_while_reading_folder") {
    scratch();
    for (int i = 0; i < 100; i++) CHECK(write_file(("f" + std::to_string(i)).c_str(), ""));
    DIR* directory = opendir(".");
    while (dirent* entry = readdir(directory))
        if (entry->d_name[0] == 'f') OK(unlink(entry->d_name));
    closedir(directory);
    CHECK_EQ(names_in(".").size(), 2);
}

TEST("folder_listed_again_and_again") {
    scratch();
    OK(mkdir("d", 0700));
    OK(mkdir("e", 0700));
    const auto check = [](std::vector<std::string> expected) {
        expected.insert(expected.begin(), {".", ".."});
        for (int i = 0; i < 3; i++) CHECK(names_in("d") == expected);
    };
    check({});
    CHECK(write_file("d/a", ""));
    check({"a"});
    OK(link("d/a", "d/b"));
    check({"a", "b"});
    OK(rename("d/b", "d/c"));
    check({"a", "c"});
    OK(symlink("a", "d/l"));
    OK(rename("d/c", "e/c"));
    check({"a", "l"});
    OK(rename("e/c", "d/x"));
    OK(mkdir("d/y", 0700));
    check({"a", "l", "x", "y"});
    OK(chmod("d", 0755));
    OK(unlink("d/l"));
    OK(rmdir("d/y"));
    check({"a", "x"});
    CHECK_EQ(run_child([] { OK(unlink("d/a")); }), 0);
    check({"x"});
    // Two readers, one behind the other, and a change between them.
    for (int i = 0; i < 300; i++) CHECK(write_file(("d/n" + std::to_string(i)).c_str(), ""));
    for (int i = 0; i < 3; i++) CHECK_EQ(names_in("d").size(), 303);
    DIR* first = opendir("d");
    CHECK(readdir(first) != nullptr);
    CHECK_EQ(names_in("d").size(), 303);
    OK(unlink("d/n0"));
    CHECK_EQ(names_in("d").size(), 302);
    CHECK_EQ(names_in("d").size(), 302);
    size_t left = 1;
    while (readdir(first) != nullptr) left++;
    CHECK_GE(left, 302);
    closedir(first);
}
