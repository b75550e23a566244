// open flags, reading and writing, positions, sizes, sparse and unlinked files.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <string>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
std::string text_of(const char* path) {
    static char buffer[65536];
    ssize_t n = OK(read_file(path, buffer, sizeof(buffer)));
    return std::string(buffer, static_cast<size_t>(n));
}

off_t size_of(const char* path) {
    struct stat info;
    OK(stat(path, &info));
    return info.st_size;
}
}  // namespace

TEST("create_write_read_back") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT | O_EXCL, 0640));
    CHECK_EQ(write(fd, "hello", 5), 5);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    char text[10] = {};
    CHECK_EQ(read(fd, text, 10), 5);
    CHECK_STREQ(text, "hello");
    CHECK_EQ(read(fd, text, 10), 0);
}

TEST("open_missing_is_enoent") {
    scratch();
    CHECK_ERRNO(open("none", O_RDONLY), ENOENT);
    CHECK_ERRNO(open("none/file", O_RDWR | O_CREAT, 0600), ENOENT);
    CHECK_ERRNO(open("", O_RDONLY), ENOENT);
}

TEST("open_excl_is_eexist") {
    scratch();
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(open("file", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    OK(symlink("nowhere", "link"));
    CHECK_ERRNO(open("link", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
}

TEST("open_creat_through_dangling_symlink") {
    scratch();
    OK(symlink("target", "link"));
    OK(open("link", O_RDWR | O_CREAT, 0600));
    OK(access("target", F_OK));
}

TEST("open_existing_with_creat_keeps_mode") {
    scratch();
    CHECK(write_file("file", "x", 0604));
    OK(open("file", O_RDWR | O_CREAT, 0777));
    struct stat info;
    OK(stat("file", &info));
    CHECK_EQ(info.st_mode & 07777, 0604);
}

TEST("open_trunc") {
    scratch();
    CHECK(write_file("file", "long content"));
    OK(open("file", O_WRONLY | O_TRUNC));
    CHECK_EQ(size_of("file"), 0);
}

TEST("open_append_writes_at_end") {
    scratch();
    CHECK(write_file("file", "abc"));
    int fd = OK(open("file", O_RDWR | O_APPEND));
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(write(fd, "def", 3), 3);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 6);
    CHECK_STREQ(text_of("file").c_str(), "abcdef");
}

TEST("append_by_two_processes_loses_nothing") {
    scratch();
    CHECK(write_file("file", ""));
    pid_t pid = OK(fork());
    int fd = OK(open("file", O_WRONLY | O_APPEND));
    for (int i = 0; i < 50; i++) CHECK_EQ(write(fd, pid == 0 ? "aaaa\n" : "bbbb\n", 5), 5);
    if (pid == 0) _exit(0);
    OK(waitpid(pid, nullptr, 0));
    std::string text = text_of("file");
    CHECK_EQ(text.size(), 500);
    for (size_t i = 0; i < text.size(); i += 5)
        CHECK(text.compare(i, 5, "aaaa\n") == 0 || text.compare(i, 5, "bbbb\n") == 0);
}

TEST("open_directory_flag") {
    scratch();
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
    OK(open(".", O_RDONLY | O_DIRECTORY));
}

TEST("open_directory_for_writing_is_eisdir") {
    scratch();
    CHECK_ERRNO(open(".", O_WRONLY), EISDIR);
    CHECK_ERRNO(open(".", O_RDWR), EISDIR);
    OK(mkdir("folder", 0700));
    CHECK_ERRNO(open("folder", O_RDWR | O_CREAT, 0600), EISDIR);
    int fd = OK(open("folder", O_RDONLY));
    char byte;
    CHECK_ERRNO(read(fd, &byte, 1), EISDIR);
    CHECK_ERRNO(write(fd, "x", 1), EBADF);
}

TEST("open_nofollow_is_eloop") {
    scratch();
    CHECK(write_file("file", "x"));
    OK(symlink("file", "link"));
    CHECK_ERRNO(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    OK(open("link", O_RDONLY));
}

TEST("open_path_descriptor") {
    scratch();
    CHECK(write_file("file", "x"));
    int fd = OK(open("file", O_PATH));
    char byte;
    CHECK_ERRNO(read(fd, &byte, 1), EBADF);
    CHECK_ERRNO(fchmod(fd, 0600), EBADF);
    struct stat info;
    OK(fstat(fd, &info));
    CHECK_EQ(info.st_size, 1);
    OK(symlink("file", "link"));
    int link = OK(open("link", O_PATH | O_NOFOLLOW));
    OK(fstat(link, &info));
    CHECK(S_ISLNK(info.st_mode));
}

TEST("open_access_modes_are_enforced") {
    scratch();
    CHECK(write_file("file", "abc"));
    char byte;
    int in = OK(open("file", O_RDONLY)), out = OK(open("file", O_WRONLY));
    CHECK_ERRNO(write(in, "x", 1), EBADF);
    CHECK_ERRNO(read(out, &byte, 1), EBADF);
    CHECK_ERRNO(ftruncate(in, 0), EINVAL);
}

TEST("opened_twice_positions_are_apart") {
    scratch();
    CHECK(write_file("file", "abc"));
    int a = OK(open("file", O_RDONLY)), b = OK(open("file", O_RDONLY));
    char byte;
    CHECK_EQ(read(a, &byte, 1), 1);
    CHECK_EQ(lseek(b, 0, SEEK_CUR), 0);
}

TEST("openat_relative") {
    scratch();
    OK(mkdir("folder", 0700));
    int folder = OK(open("folder", O_RDONLY | O_DIRECTORY));
    OK(openat(folder, "file", O_WRONLY | O_CREAT, 0600));
    OK(access("folder/file", F_OK));
    CHECK_ERRNO(openat(199, "file", O_RDONLY), EBADF);
    int file = OK(open("folder/file", O_RDONLY));
    CHECK_ERRNO(openat(file, "x", O_RDONLY), ENOTDIR);
    OK(openat(199, "/", O_RDONLY));
}

TEST("umask_is_applied") {
    scratch();
    umask(027);
    OK(open("file", O_WRONLY | O_CREAT, 0666));
    OK(mkdir("folder", 0777));
    struct stat info;
    OK(stat("file", &info));
    CHECK_EQ(info.st_mode & 0777, 0640);
    OK(stat("folder", &info));
    CHECK_EQ(info.st_mode & 0777, 0750);
    CHECK_EQ(umask(022), 027);
}

TEST("read_only_mode_of_new_file_still_writable_by_creator") {
    scratch();
    int fd = OK(open("file", O_WRONLY | O_CREAT, 0400));
    CHECK_EQ(write(fd, "x", 1), 1);
}

TEST("lseek_all_ways") {
    scratch();
    CHECK(write_file("file", "0123456789"));
    int fd = OK(open("file", O_RDWR));
    CHECK_EQ(lseek(fd, 4, SEEK_SET), 4);
    CHECK_EQ(lseek(fd, 3, SEEK_CUR), 7);
    CHECK_EQ(lseek(fd, -2, SEEK_END), 8);
    CHECK_EQ(lseek(fd, 100, SEEK_END), 110);
    char byte;
    CHECK_EQ(read(fd, &byte, 1), 0);
    CHECK_ERRNO(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_ERRNO(lseek(fd, 0, 99), EINVAL);
    CHECK_ERRNO(lseek(199, 0, SEEK_SET), EBADF);
}

TEST("pread_pwrite_keep_position") {
    scratch();
    CHECK(write_file("file", "0123456789"));
    int fd = OK(open("file", O_RDWR));
    char text[4] = {};
    CHECK_EQ(pread(fd, text, 3, 5), 3);
    CHECK_STREQ(text, "567");
    CHECK_EQ(pwrite(fd, "AB", 2, 8), 2);
    CHECK_EQ(pwrite(fd, "CD", 2, 12), 2);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
    CHECK_EQ(text_of("file").compare(std::string("01234567AB\0\0CD", 14)), 0);
    CHECK_EQ(pread(fd, text, 3, 100), 0);
    CHECK_ERRNO(pread(fd, text, 3, -1), EINVAL);
}

TEST("readv_writev_file") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    iovec out[3] = {{const_cast<char*>("one "), 4}, {const_cast<char*>("two "), 4}, {const_cast<char*>("three"), 5}};
    CHECK_EQ(writev(fd, out, 3), 13);
    char a[5] = {}, b[20] = {};
    iovec in[2] = {{a, 4}, {b, 19}};
    CHECK_EQ(preadv(fd, in, 2, 0), 13);
    CHECK_STREQ(a, "one ");
    CHECK_STREQ(b, "two three");
    CHECK_EQ(pwritev(fd, out, 1, 20), 4);
    CHECK_EQ(size_of("file"), 24);
}

TEST("large_file_integrity") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    static uint32_t block[65536];
    for (uint32_t part = 0; part < 16; part++) {
        for (uint32_t i = 0; i < 65536; i++) block[i] = part * 65536 + i;
        CHECK_EQ(write(fd, block, sizeof(block)), sizeof(block));
    }
    CHECK_EQ(size_of("file"), 4 << 20);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    uint32_t expected = 0;
    static uint32_t in[5000];
    for (ssize_t n; (n = read(fd, in, sizeof(in))) > 0;)
        for (ssize_t i = 0; i < n / 4; i++) CHECK_EQ(in[i], expected++);
    CHECK_EQ(expected, 1u << 20);
}

TEST("odd_offsets_across_pages") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    std::string model(30000, 0);
    uint32_t seed = 12345;
    for (int i = 0; i < 200; i++) {
        seed = seed * 1103515245 + 12345;
        size_t at = seed % 20000, length = (seed >> 16) % 9000;
        std::string piece(length, static_cast<char>('a' + i % 26));
        CHECK_EQ(pwrite(fd, piece.data(), length, static_cast<off_t>(at)), length);
        model.replace(at, length, piece);
    }
    std::string now(30000, 0);
    CHECK_GE(pread(fd, now.data(), now.size(), 0), 1000);
    CHECK(now == model);
}

TEST("truncate_and_extend") {
    scratch();
    CHECK(write_file("file", "0123456789"));
    OK(truncate("file", 4));
    CHECK_STREQ(text_of("file").c_str(), "0123");
    int fd = OK(open("file", O_RDWR));
    OK(ftruncate(fd, 8));
    CHECK_EQ(text_of("file").compare(std::string("0123\0\0\0\0", 8)), 0);
    CHECK_ERRNO(ftruncate(fd, -1), EINVAL);
    CHECK_ERRNO(truncate("none", 0), ENOENT);
    CHECK_ERRNO(truncate(".", 0), EISDIR);
}

TEST("truncate_then_extend_reads_zero") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    std::string ones(10000, '1');
    CHECK_EQ(write(fd, ones.data(), 10000), 10000);
    OK(ftruncate(fd, 100));
    OK(ftruncate(fd, 10000));
    std::string now(10000, 'x');
    CHECK_EQ(pread(fd, now.data(), 10000, 0), 10000);
    CHECK(now == std::string(100, '1') + std::string(9900, '\0'));
}

TEST("sparse_file") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    CHECK_EQ(pwrite(fd, "end", 3, 1 << 30), 3);
    CHECK_EQ(size_of("file"), (1 << 30) + 3);
    char block[100];
    memset(block, 1, sizeof(block));
    CHECK_EQ(pread(fd, block, 100, 500000000), 100);
    for (char byte : block) CHECK_EQ(byte, 0);
    struct stat info;
    OK(fstat(fd, &info));
    CHECK_LT(info.st_blocks, 10000);
}

TEST("unlinked_open_file_lives") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    OK(unlink("file"));
    CHECK_ERRNO(access("file", F_OK), ENOENT);
    CHECK_EQ(write(fd, "still here", 10), 10);
    char text[20] = {};
    CHECK_EQ(pread(fd, text, 20, 0), 10);
    CHECK_STREQ(text, "still here");
    struct stat info;
    OK(fstat(fd, &info));
    CHECK_EQ(info.st_nlink, 0);
    OK(ftruncate(fd, 3));
    OK(fchmod(fd, 0644));
}

TEST("unlinked_name_can_be_made_again") {
    scratch();
    CHECK(write_file("file", "old"));
    int fd = OK(open("file", O_RDONLY));
    OK(unlink("file"));
    CHECK(write_file("file", "new"));
    char text[4] = {};
    CHECK_EQ(read(fd, text, 3), 3);
    CHECK_STREQ(text, "old");
    CHECK_STREQ(text_of("file").c_str(), "new");
}

TEST("write_seen_by_other_descriptor_at_once") {
    scratch();
    int a = OK(open("file", O_RDWR | O_CREAT, 0600)), b = OK(open("file", O_RDONLY));
    CHECK_EQ(write(a, "abc", 3), 3);
    char text[4] = {};
    CHECK_EQ(read(b, text, 3), 3);
    CHECK_STREQ(text, "abc");
}

TEST("write_seen_by_mapping_and_back") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(fd, 4096));
    auto* memory = static_cast<volatile char*>(OK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    CHECK_EQ(pwrite(fd, "Q", 1, 10), 1);
    CHECK_EQ(memory[10], 'Q');
    memory[11] = 'R';
    char byte;
    CHECK_EQ(pread(fd, &byte, 1, 11), 1);
    CHECK_EQ(byte, 'R');
}

TEST("fsync_and_fdatasync") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    CHECK_EQ(write(fd, "x", 1), 1);
    OK(fsync(fd));
    OK(fdatasync(fd));
    CHECK_ERRNO(fsync(199), EBADF);
}

TEST("fallocate_extends") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    int result = fallocate(fd, 0, 0, 10000);
    if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) SKIP("no fallocate");
    CHECK_EQ(size_of("file"), 10000);
}

TEST("statfs_is_plausible") {
    scratch();
    struct statfs info;
    OK(statfs(".", &info));
    CHECK_GT(info.f_bsize, 0);
    CHECK_GE(info.f_namelen, 200);
    int fd = OK(open(".", O_RDONLY));
    OK(fstatfs(fd, &info));
    CHECK_ERRNO(statfs("none", &info), ENOENT);
}

TEST("statfs_of_descriptors_without_a_file_system") {
    int fds[] = {eventfd(0, 0), epoll_create1(0)};
    for (int fd : fds) {
        struct statfs info;
        OK(fstatfs(fd, &info));
        CHECK_EQ(static_cast<unsigned long>(info.f_type), 0x09041934UL);
        CHECK_EQ(info.f_namelen, 255);
        close(fd);
    }
}

TEST("file_locks_between_processes") {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    if (fcntl(fd, F_SETLK, &lock) != 0 && (errno == ENOSYS || errno == EINVAL)) SKIP("no record locks");
    CHECK_EXITED(run_child([] {
                     int again = OK(open("file", O_RDWR));
                     struct flock other = {};
                     other.l_type = F_WRLCK;
                     CHECK(fcntl(again, F_SETLK, &other) == -1 && (errno == EAGAIN || errno == EACCES));
                 }),
                 0);
}

TEST("sendfile_copies") {
    scratch();
    CHECK(write_file("in", "sendfile content"));
    int in = OK(open("in", O_RDONLY)), out = OK(open("out", O_WRONLY | O_CREAT, 0600));
    long n = syscall(SYS_sendfile, out, in, nullptr, 100);
    if (n < 0 && errno == ENOSYS) SKIP("no sendfile");
    CHECK_EQ(n, 16);
    CHECK_STREQ(text_of("out").c_str(), "sendfile content");
}
