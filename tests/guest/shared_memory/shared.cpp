// Shared mappings of files and memfd: coherence, truncation, seals.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

namespace {
constexpr size_t kPage = 4096;

char* map(int fd, size_t size, int protection = PROT_READ | PROT_WRITE, int type = MAP_SHARED) {
    return static_cast<char*>(OK(mmap(nullptr, size, protection, type, fd, 0)));
}

int new_file(size_t size) {
    scratch();
    int fd = OK(open("file", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(fd, static_cast<off_t>(size)));
    return fd;
}

int memfd(size_t size, unsigned flags = MFD_ALLOW_SEALING) {
    int fd = OK(memfd_create("test", flags));
    OK(ftruncate(fd, static_cast<off_t>(size)));
    return fd;
}

char byte_at(int fd, off_t at) {
    char byte = 0;
    CHECK_EQ(pread(fd, &byte, 1, at), 1);
    return byte;
}
}  // namespace

TEST("write_shows_in_mapping_at_once") {
    int fd = new_file(2 * kPage);
    char* memory = map(fd, 2 * kPage);
    CHECK_EQ(memory[5], 0);
    CHECK_EQ(pwrite(fd, "x", 1, 5), 1);
    CHECK_EQ(memory[5], 'x');
}

TEST("mapping_shows_in_read_at_once") {
    int fd = new_file(2 * kPage);
    char* memory = map(fd, 2 * kPage);
    memory[kPage] = 'm';
    CHECK_EQ(byte_at(fd, kPage), 'm');
}

TEST("two_mappings_of_a_file_are_one") {
    int fd = new_file(kPage);
    char *first = map(fd, kPage), *second = map(fd, kPage);
    first[9] = 1;
    CHECK_EQ(second[9], 1);
    second[9] = 2;
    CHECK_EQ(first[9], 2);
}

TEST("another_process_maps_the_same_pages") {
    int fd = new_file(kPage);
    char* memory = map(fd, kPage);
    CHECK_EXITED(run_child([] {
                     int own = OK(open("file", O_RDWR));
                     char* mine = map(own, kPage);
                     mine[0] = 'c';
                 }),
                 0);
    CHECK_EQ(memory[0], 'c');
}

TEST("munmap_leaves_the_data_in_the_file") {
    int fd = new_file(kPage);
    char* memory = map(fd, kPage);
    memory[3] = 'k';
    OK(munmap(memory, kPage));
    OK(close(fd));
    fd = OK(open("file", O_RDONLY));
    CHECK_EQ(byte_at(fd, 3), 'k');
}

TEST("exit_leaves_the_data_in_the_file") {
    int fd = new_file(kPage);
    CHECK_EXITED(run_child([=] { map(fd, kPage)[3] = 'e'; }), 0);
    CHECK_EQ(byte_at(fd, 3), 'e');
}

TEST("kill_leaves_the_data_in_the_file") {
    int fd = new_file(kPage);
    CHECK_SIGNALED(run_child([=] {
                       map(fd, kPage)[3] = 'k';
                       raise(SIGKILL);
                   }),
                   SIGKILL);
    CHECK_EQ(byte_at(fd, 3), 'k');
}

TEST("private_copy_does_not_see_later_writes") {
    int fd = new_file(kPage);
    char* memory = map(fd, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memory[0] = 'p';
    CHECK_EQ(pwrite(fd, "fg", 2, 0), 2);
    CHECK_EQ(memory[0], 'p');
    CHECK_EQ(memory[1], 0);
}

TEST("truncate_makes_sigbus") {
    int fd = new_file(4 * kPage);
    char* memory = map(fd, 4 * kPage);
    memset(memory, 1, 4 * kPage);
    OK(ftruncate(fd, kPage));
    CHECK_EQ(memory[0], 1);
    Trap trap = trap_of([=] { memory[kPage] = 1; });
    CHECK_EQ(trap.signo, SIGBUS);
    CHECK_EQ(trap.code, BUS_ADRERR);
    CHECK_EQ(trap.addr, memory + kPage);
    OK(ftruncate(fd, 4 * kPage));
    CHECK_EQ(memory[kPage], 0);
}

TEST("truncate_takes_private_copies_too") {
    int fd = new_file(2 * kPage);
    char* memory = map(fd, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memory[kPage] = 1;
    OK(ftruncate(fd, 0));
    CHECK_EQ(trap_of([=] { (void)*static_cast<volatile char*>(memory + kPage); }).signo, SIGBUS);
}

TEST("truncate_inside_a_page_zeroes_the_rest") {
    int fd = new_file(kPage);
    char* memory = map(fd, kPage);
    memset(memory, 7, kPage);
    OK(ftruncate(fd, 100));
    CHECK_EQ(memory[99], 7);
    CHECK_EQ(memory[100], 0);
}

TEST("read_into_a_page_beyond_the_end_is_efault") {
    int fd = new_file(kPage);
    char* memory = map(fd, 2 * kPage);
    int zero = OK(open("/dev/zero", O_RDONLY));
    CHECK_ERRNO(read(zero, memory + kPage, 10), EFAULT);
}

TEST("growing_file_shows_in_the_mapping") {
    int fd = new_file(0);
    char* memory = map(fd, kPage);
    CHECK_EQ(write(fd, "now", 3), 3);
    CHECK_EQ(memory[1], 'o');
}

TEST("shared_anonymous_across_fork_and_exec_less_child") {
    char* memory =
        static_cast<char*>(OK(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    CHECK_EXITED(run_child([=] { memory[2 * kPage] = 'c'; }), 0);
    CHECK_EQ(memory[2 * kPage], 'c');
    CHECK_EXITED(run_child([=] {
                     memory[0] = 1;
                     CHECK_EXITED(run_child([=] { memory[1] = memory[0] + 1; }), 0);
                 }),
                 0);
    CHECK_EQ(memory[1], 2);
}

TEST("memfd_is_shared_by_descriptor") {
    int fd = memfd(kPage);
    char* memory = map(fd, kPage);
    CHECK_EXITED(run_child([=] { map(fd, kPage)[7] = 'd'; }), 0);
    CHECK_EQ(memory[7], 'd');
    CHECK_EQ(byte_at(fd, 7), 'd');
}

TEST("memfd_create_errors") {
    CHECK_ERRNO(memfd_create("x", 0x100000), EINVAL);
    char name[300];
    memset(name, 'n', sizeof name);
    name[250] = 0;
    CHECK_ERRNO(memfd_create(name, 0), EINVAL);
    name[249] = 0;
    OK(memfd_create(name, 0));
    CHECK_ERRNO(memfd_create(reinterpret_cast<char*>(8), 0), EFAULT);
}

TEST("memfd_without_sealing_is_sealed_against_seals") {
    int fd = memfd(kPage, 0);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
    CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
}

TEST("seals_of_another_file_are_einval") {
    int fd = OK(open("/bin/helper_static", O_RDONLY));
    CHECK_ERRNO(fcntl(fd, F_GET_SEALS), EINVAL);
}

TEST("seal_shrink_and_grow") {
    int fd = memfd(2 * kPage);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    CHECK_ERRNO(ftruncate(fd, kPage), EPERM);
    OK(ftruncate(fd, 3 * kPage));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    CHECK_ERRNO(ftruncate(fd, 4 * kPage), EPERM);
    CHECK_ERRNO(pwrite(fd, "x", 1, 3 * kPage), EPERM);
    CHECK_ERRNO(fallocate(fd, 0, 0, 4 * kPage), EPERM);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
}

TEST("seal_write_refuses_writes_and_maps") {
    int fd = memfd(kPage);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    CHECK_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
    CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    CHECK_ERRNO(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPage), EPERM);
    map(fd, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE)[0] = 1;
}

TEST("seal_write_lets_shared_readers_map") {
    int fd = memfd(kPage);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    char* memory = map(fd, kPage, PROT_READ);
    CHECK_EQ(memory[0], 0);
    CHECK_ERRNO(mprotect(memory, kPage, PROT_READ | PROT_WRITE), EACCES);
}

TEST("seal_write_with_a_writable_map_is_ebusy") {
    int fd = memfd(kPage);
    char* memory = map(fd, kPage);
    CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    OK(mprotect(memory, kPage, PROT_READ));
    CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);  // it may be made writable again
    OK(munmap(memory, kPage));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
}

TEST("seal_future_write_keeps_old_maps") {
    int fd = memfd(kPage);
    char* memory = map(fd, kPage);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    memory[0] = 'o';
    CHECK_EQ(byte_at(fd, 0), 'o');
    CHECK_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
    CHECK_ERRNO(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    CHECK_ERRNO(mprotect(map(fd, kPage, PROT_READ), kPage, PROT_READ | PROT_WRITE), EACCES);
}

TEST("seal_seal_ends_sealing") {
    int fd = memfd(kPage);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, 0x1000), EINVAL);
}

TEST("seals_need_a_writable_descriptor") {
    int fd = memfd(kPage);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = OK(open(path, O_RDONLY));
    CHECK_ERRNO(fcntl(reader, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    CHECK_EQ(fcntl(reader, F_GET_SEALS), 0);
}

TEST("noexec_seal_fixes_the_mode") {
    int fd = OK(memfd_create("x", 8 /* MFD_NOEXEC_SEAL */));
    struct stat status;
    OK(fstat(fd, &status));
    CHECK_EQ(status.st_mode & 0777, 0666);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_EXEC);
    CHECK_ERRNO(fchmod(fd, 0777), EPERM);
    OK(fchmod(fd, 0600));
}

TEST("seal_exec_of_an_executable_seals_writes") {
    int fd = OK(memfd_create("x", MFD_ALLOW_SEALING | 0x10 /* MFD_EXEC */));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC));
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
    CHECK_ERRNO(write(fd, "x", 1), EPERM);
}

TEST("memfd_name_in_proc") {
    int fd = memfd(kPage);
    char path[64], link[64] = {};
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK_GT(readlink(path, link, sizeof link - 1), 0);
    CHECK_STREQ(link, "/memfd:test (deleted)");
}
