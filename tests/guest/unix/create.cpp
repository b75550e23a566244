// socket, socketpair: arguments, descriptors, what the rest of the system sees of a socket.
#include <sys/resource.h>
#include <sys/statfs.h>

#include "tests/guest/unix/unix_test.hpp"

TEST("socket_types") {
    for (int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
        int fd = OK(socket(AF_UNIX, type, 0));
        CHECK_EQ(int_option(fd, SO_TYPE), type);
        CHECK_EQ(int_option(fd, SO_DOMAIN), AF_UNIX);
        CHECK_EQ(int_option(fd, SO_PROTOCOL), 0);
        OK(close(fd));
    }
}

TEST("socket_raw_is_datagram") { CHECK_EQ(int_option(OK(socket(AF_UNIX, SOCK_RAW, 0)), SO_TYPE), SOCK_DGRAM); }

TEST("socket_bad_arguments") {
    CHECK_ERRNO(socket(-1, SOCK_STREAM, 0), EAFNOSUPPORT);
    CHECK_ERRNO(socket(200, SOCK_STREAM, 0), EAFNOSUPPORT);
    CHECK_ERRNO(socket(AF_UNIX, 12, 0), EINVAL);
    CHECK_ERRNO(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    CHECK_ERRNO(socket(AF_UNIX, SOCK_STREAM, 6), EPROTONOSUPPORT);
    CHECK_ERRNO(socket(AF_UNIX, SOCK_STREAM | 0x100000, 0), EINVAL);
    OK(socket(AF_UNIX, SOCK_STREAM, AF_UNIX));
}

TEST("socket_flags") {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
    int plain = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_EQ(fcntl(plain, F_GETFD), 0);
    CHECK_EQ(fcntl(plain, F_GETFL), O_RDWR);
}

TEST("socketpair_flags_and_errors") {
    int fds[2];
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
    for (int fd : fds) {
        CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
    }
    CHECK_ERRNO(socketpair(AF_UNIX, SOCK_STREAM | 0x100000, 0, fds), EINVAL);
    CHECK_ERRNO(socketpair(AF_UNIX, SOCK_STREAM, 0, reinterpret_cast<int*>(8)), EFAULT);
}

TEST("socketpair_bad_address_leaves_no_descriptors") {
    int before = OK(dup(0));
    OK(close(before));
    CHECK_ERRNO(socketpair(AF_UNIX, SOCK_STREAM, 0, reinterpret_cast<int*>(8)), EFAULT);
    CHECK_EQ(dup(0), before);
}

TEST("descriptor_limit") {
    int next = OK(dup(0));
    rlimit limit{static_cast<rlim_t>(next) + 2, static_cast<rlim_t>(next) + 2};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    int fds[2];
    CHECK_ERRNO(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), EMFILE);
    OK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_ERRNO(socket(AF_UNIX, SOCK_STREAM, 0), EMFILE);
}

TEST("fstat_shows_a_socket") {
    Pair pair;
    struct stat a, b;
    OK(fstat(pair.a, &a));
    OK(fstat(pair.b, &b));
    CHECK(S_ISSOCK(a.st_mode));
    CHECK_EQ(a.st_mode & 07777, 0777);
    CHECK_EQ(a.st_nlink, 1);
    CHECK_EQ(a.st_size, 0);
    CHECK_EQ(a.st_uid, geteuid());
    CHECK_NE(a.st_ino, b.st_ino);
    CHECK_EQ(a.st_dev, b.st_dev);
}

TEST("fchmod_and_fchown_of_a_socket") {
    Pair pair;
    OK(fchmod(pair.a, 0640));
    OK(fchown(pair.a, 12, 34));
    struct stat info;
    OK(fstat(pair.a, &info));
    CHECK_EQ(info.st_mode, S_IFSOCK | 0640);
    CHECK_EQ(info.st_uid, 12);
    CHECK_EQ(info.st_gid, 34);
}

TEST("fstatfs_is_sockfs") {
    Pair pair;
    struct statfs info;
    OK(fstatfs(pair.a, &info));
    CHECK_EQ(info.f_type, 0x534F434B);
}

TEST("proc_fd_names_the_inode") {
    Pair pair;
    struct stat info;
    OK(fstat(pair.a, &info));
    char path[64], target[64] = {}, expected[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", pair.a);
    OK(readlink(path, target, sizeof target - 1));
    snprintf(expected, sizeof expected, "socket:[%lu]", info.st_ino);
    CHECK_STREQ(target, expected);
    struct stat through;
    OK(stat(path, &through));
    CHECK_EQ(through.st_ino, info.st_ino);
    CHECK(S_ISSOCK(through.st_mode));
    CHECK_ERRNO(open(path, O_RDWR), ENXIO);
}

TEST("files_that_are_no_sockets") {
    int fd = OK(open("/dev/null", O_RDWR));
    char byte = 0;
    sockaddr_un address{};
    socklen_t length = sizeof address;
    CHECK_ERRNO(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), ENOTSOCK);
    CHECK_ERRNO(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), ENOTSOCK);
    CHECK_ERRNO(listen(fd, 1), ENOTSOCK);
    CHECK_ERRNO(accept(fd, nullptr, nullptr), ENOTSOCK);
    CHECK_ERRNO(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), ENOTSOCK);
    CHECK_ERRNO(getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length), ENOTSOCK);
    CHECK_ERRNO(send(fd, &byte, 1, 0), ENOTSOCK);
    CHECK_ERRNO(recv(fd, &byte, 1, 0), ENOTSOCK);
    CHECK_ERRNO(shutdown(fd, SHUT_RD), ENOTSOCK);
    CHECK_ERRNO(getsockopt(fd, SOL_SOCKET, SO_TYPE, &byte, &length), ENOTSOCK);
}

TEST("descriptors_that_are_not_open") {
    CHECK_ERRNO(listen(999, 1), EBADF);
    CHECK_ERRNO(accept(999, nullptr, nullptr), EBADF);
    CHECK_ERRNO(shutdown(999, 77), EBADF);
    CHECK_ERRNO(send(999, "", 0, 0), EBADF);
    CHECK_ERRNO(connect(999, nullptr, 4), EBADF);
}

TEST("sockets_have_no_position") {
    Pair pair;
    char byte;
    CHECK_ERRNO(lseek(pair.a, 0, SEEK_CUR), ESPIPE);
    CHECK_ERRNO(pread(pair.a, &byte, 1, 0), ESPIPE);
    CHECK_ERRNO(pwrite(pair.a, &byte, 1, 0), ESPIPE);
    CHECK_ERRNO(ftruncate(pair.a, 0), EINVAL);
    CHECK_ERRNO(fsync(pair.a), EINVAL);
}

TEST("getsockname_of_an_unbound_socket") {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address;
    memset(&address, 0x55, sizeof address);
    socklen_t length = sizeof address;
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length));
    CHECK_EQ(length, kPathAt);
    CHECK_EQ(address.sun_family, AF_UNIX);
    CHECK_EQ(address.sun_path[0], 0x55);
    CHECK_ERRNO(getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length), ENOTCONN);
}

TEST("getsockname_cuts_to_the_room_there_is") {
    int fd = bound(SOCK_STREAM, abstract_name("kvmsbx-cut"));
    char bytes[8];
    memset(bytes, 0x55, sizeof bytes);
    socklen_t length = 5;
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(bytes), &length));
    CHECK_EQ(length, kPathAt + 11);
    CHECK_EQ(bytes[4], 'v');
    CHECK_EQ(bytes[5], 0x55);
    length = static_cast<socklen_t>(-1);
    CHECK_ERRNO(getsockname(fd, reinterpret_cast<sockaddr*>(bytes), &length), EINVAL);
    CHECK_ERRNO(getsockname(fd, reinterpret_cast<sockaddr*>(bytes), nullptr), EFAULT);
}
