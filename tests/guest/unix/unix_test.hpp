#pragma once
// What the tests of AF_UNIX share.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cstddef>
#include <cstdlib>
#include <ctime>

#include "tests/guest/guest_test.hpp"

using namespace guest;

inline constexpr socklen_t kPathAt = offsetof(sockaddr_un, sun_path);

struct Name {
    sockaddr_un address{};
    socklen_t length = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

inline Name path_name(const char* path) {
    Name name;
    name.address.sun_family = AF_UNIX;
    strcpy(name.address.sun_path, path);
    name.length = static_cast<socklen_t>(kPathAt + strlen(path) + 1);
    return name;
}

inline Name abstract_name(const char* text) {
    Name name;
    name.address.sun_family = AF_UNIX;
    strcpy(name.address.sun_path + 1, text);
    name.length = static_cast<socklen_t>(kPathAt + 1 + strlen(text));
    return name;
}

inline int bound(int type, const Name& name) {
    int fd = OK(socket(AF_UNIX, type, 0));
    OK(bind(fd, name.get(), name.length));
    return fd;
}

inline int listening(const Name& name, int type = SOCK_STREAM, int backlog = 8) {
    int fd = bound(type, name);
    OK(listen(fd, backlog));
    return fd;
}

inline int connected(const Name& name, int type = SOCK_STREAM) {
    int fd = OK(socket(AF_UNIX, type, 0));
    OK(connect(fd, name.get(), name.length));
    return fd;
}

struct Pair {
    int a, b;
    explicit Pair(int type = SOCK_STREAM) {
        int fds[2];
        OK(socketpair(AF_UNIX, type, 0, fds));
        a = fds[0], b = fds[1];
    }
};

inline short events_of(int fd, short wanted) {
    pollfd one = {fd, wanted, 0};
    OK(poll(&one, 1, 0));
    return one.revents;
}

inline int int_option(int fd, int name, int level = SOL_SOCKET) {
    int value = -12345;
    socklen_t length = sizeof value;
    OK(getsockopt(fd, level, name, &value, &length));
    CHECK_EQ(length, sizeof value);
    return value;
}

inline void set_int_option(int fd, int name, int value) { OK(setsockopt(fd, SOL_SOCKET, name, &value, sizeof value)); }

inline void send_text(int fd, const char* text) { CHECK_EQ(send(fd, text, strlen(text), 0), strlen(text)); }

inline void expect_text(int fd, const char* text, int flags = 0) {
    char buffer[256];
    ssize_t size = OK(recv(fd, buffer, sizeof buffer - 1, flags));
    buffer[size] = '\0';
    CHECK_STREQ(buffer, text);
}

// A message with a control buffer of its own.
struct Message {
    char data[64] = {};
    alignas(cmsghdr) char control[2048] = {};
    iovec part{data, sizeof data};
    msghdr header{};
    explicit Message(size_t size = sizeof data, size_t room = sizeof control) {
        part.iov_len = size;
        header.msg_iov = &part, header.msg_iovlen = 1;
        header.msg_control = control, header.msg_controllen = room;
    }
    // Adds a control message in front of which nothing stands yet.
    void set_control(int type, const void* bytes, size_t size, int level = SOL_SOCKET) {
        cmsghdr* first = reinterpret_cast<cmsghdr*>(control);
        first->cmsg_level = level, first->cmsg_type = type, first->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(first), bytes, size);
        header.msg_controllen = CMSG_SPACE(size);
    }
    cmsghdr* find(int type) {
        for (cmsghdr* at = CMSG_FIRSTHDR(&header); at; at = CMSG_NXTHDR(&header, at))
            if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == type) return at;
        return nullptr;
    }
    int fd(size_t index = 0) {
        cmsghdr* rights = find(SCM_RIGHTS);
        CHECK(rights != nullptr);
        CHECK(rights->cmsg_len >= CMSG_LEN((index + 1) * sizeof(int)));
        int number;
        memcpy(&number, CMSG_DATA(rights) + index * sizeof number, sizeof number);
        return number;
    }
};

inline void send_fds(int socket, const int* fds, size_t count) {
    Message message(1);
    message.set_control(SCM_RIGHTS, fds, count * sizeof(int));
    CHECK_EQ(sendmsg(socket, &message.header, 0), 1);
}
inline void send_fd(int socket, int fd) { send_fds(socket, &fd, 1); }

inline int receive_fd(int socket, int flags = 0) {
    Message message(1);
    CHECK_EQ(recvmsg(socket, &message.header, flags), 1);
    return message.fd();
}

inline bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }
