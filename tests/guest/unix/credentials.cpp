// Who is at the other end: SO_PEERCRED, SO_PASSCRED, SCM_CREDENTIALS, SO_PEERGROUPS.
#include <grp.h>

#include "tests/guest/unix/unix_test.hpp"

namespace {
struct Ids {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
Ids peer_of(int fd) {
    Ids ids{};
    socklen_t length = sizeof ids;
    OK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &ids, &length));
    CHECK_EQ(length, sizeof ids);
    return ids;
}
Ids sender_of(int fd) {
    Message message;
    OK(recvmsg(fd, &message.header, 0));
    cmsghdr* found = message.find(SCM_CREDENTIALS);
    CHECK(found != nullptr);
    CHECK_EQ(found->cmsg_len, CMSG_LEN(sizeof(Ids)));
    Ids ids;
    memcpy(&ids, CMSG_DATA(found), sizeof ids);
    return ids;
}
ssize_t send_ids(int fd, const Ids& ids) {
    Message message(1);
    message.set_control(SCM_CREDENTIALS, &ids, sizeof ids);
    return sendmsg(fd, &message.header, 0);
}
}  // namespace

TEST("peercred_of_a_pair") {
    Pair pair;
    Ids ids = peer_of(pair.a);
    CHECK_EQ(ids.pid, getpid());
    CHECK_EQ(ids.uid, geteuid());
    CHECK_EQ(ids.gid, getegid());
}

TEST("peercred_of_an_unconnected_socket") {
    Ids ids = peer_of(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
    CHECK_EQ(ids.pid, 0);
    CHECK_EQ(ids.uid, static_cast<uid_t>(-1));
    CHECK_EQ(ids.gid, static_cast<gid_t>(-1));
}

TEST("peercred_is_of_connect_and_listen") {
    Name name = abstract_name("kvmsbx-peercred");
    int server = listening(name);
    Pair sync;
    pid_t child = OK(fork());
    if (child == 0) {
        OK(setresgid(1001, 1001, 1001));
        OK(setresuid(1002, 1002, 1002));
        int client = connected(name);
        Ids ids = peer_of(client);
        CHECK_EQ(ids.pid, getppid());
        CHECK_EQ(ids.uid, 0);
        expect_text(sync.b, "done");
        _exit(0);
    }
    Ids ids = peer_of(OK(accept(server, nullptr, nullptr)));
    CHECK_EQ(ids.pid, child);
    CHECK_EQ(ids.uid, 1002);
    CHECK_EQ(ids.gid, 1001);
    send_text(sync.a, "done");
    int status;
    OK(waitpid(child, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("peercred_does_not_follow_later_changes") {
    CHECK_EXITED(run_child([] {
                     Pair pair;
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_EQ(peer_of(pair.a).uid, 0);
                 }),
                 0);
}

TEST("passcred_tells_the_sender") {
    Pair pair;
    set_int_option(pair.b, SO_PASSCRED, 1);
    pid_t child = OK(fork());
    if (child == 0) {
        OK(setresgid(1001, 1001, 1001));
        OK(setresuid(1002, 1002, 1002));
        send_text(pair.a, "x");
        _exit(0);
    }
    Ids ids = sender_of(pair.b);
    CHECK_EQ(ids.pid, child);
    CHECK_EQ(ids.uid, 1002);
    CHECK_EQ(ids.gid, 1001);
}

TEST("passcred_without_room") {
    Pair pair;
    set_int_option(pair.b, SO_PASSCRED, 1);
    send_text(pair.a, "x");
    Message message(1, 0);
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 1);
    CHECK_EQ(message.header.msg_flags & MSG_CTRUNC, MSG_CTRUNC);
}

TEST("passcred_off_gives_nothing") {
    Pair pair;
    send_text(pair.a, "x");
    Message message;
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 1);
    CHECK_EQ(message.header.msg_controllen, 0);
    CHECK_EQ(message.header.msg_flags, 0);
}

TEST("passcred_set_after_the_message_was_sent") {
    Pair pair(SOCK_DGRAM);
    send_text(pair.a, "x");
    set_int_option(pair.b, SO_PASSCRED, 1);
    Ids ids = sender_of(pair.b);
    CHECK_EQ(ids.pid, 0);
    CHECK_EQ(ids.uid, 65534);
    CHECK_EQ(ids.gid, 65534);
}

TEST("passcred_is_inherited_from_the_listener") {
    Name name = abstract_name("kvmsbx-inherits");
    int server = listening(name);
    set_int_option(server, SO_PASSCRED, 1);
    int client = connected(name);
    send_text(client, "x");
    int fd = OK(accept(server, nullptr, nullptr));
    CHECK_EQ(int_option(fd, SO_PASSCRED), 1);
    CHECK_EQ(sender_of(fd).pid, getpid());
}

TEST("passcred_separates_writers_of_a_stream") {
    Pair pair;
    set_int_option(pair.b, SO_PASSCRED, 1);
    send_text(pair.a, "parent");
    CHECK_EXITED(run_child([&] { send_text(pair.a, "child"); }), 0);
    expect_text(pair.b, "parent");
    expect_text(pair.b, "child");
}

TEST("passcred_binds_an_unbound_socket") {
    int server = bound(SOCK_DGRAM, abstract_name("kvmsbx-autobinds"));
    int client = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    set_int_option(client, SO_PASSCRED, 1);
    Name name = abstract_name("kvmsbx-autobinds");
    CHECK_EQ(sendto(client, "x", 1, 0, name.get(), name.length), 1);
    sockaddr_un from;
    socklen_t length = sizeof from;
    char byte;
    CHECK_EQ(recvfrom(server, &byte, 1, 0, reinterpret_cast<sockaddr*>(&from), &length), 1);
    CHECK_EQ(length, kPathAt + 6);
}

TEST("credentials_given_by_the_sender") {
    Pair pair;
    set_int_option(pair.b, SO_PASSCRED, 1);
    CHECK_EQ(send_ids(pair.a, {getpid(), 4321, 8765}), 1);
    Ids ids = sender_of(pair.b);
    CHECK_EQ(ids.pid, getpid());
    CHECK_EQ(ids.uid, 4321);
    CHECK_EQ(ids.gid, 8765);
}

TEST("credentials_must_be_true_without_privilege") {
    Pair pair;
    CHECK_EXITED(run_child([&] {
                     OK(setresgid(1001, 1001, 1001));
                     OK(setresuid(1002, 1002, 1002));
                     CHECK_EQ(send_ids(pair.a, {getpid(), 1002, 1001}), 1);
                     CHECK_ERRNO(send_ids(pair.a, {getppid(), 1002, 1001}), EPERM);
                     CHECK_ERRNO(send_ids(pair.a, {getpid(), 0, 1001}), EPERM);
                     CHECK_ERRNO(send_ids(pair.a, {getpid(), 1002, 0}), EPERM);
                 }),
                 0);
}

TEST("credentials_bad_control_messages") {
    Pair pair;
    Message message(1);
    int number = 0;
    message.set_control(SCM_CREDENTIALS, &number, sizeof number);
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EINVAL);
    message.set_control(77, &number, sizeof number);
    CHECK_ERRNO(sendmsg(pair.a, &message.header, 0), EINVAL);
    message.set_control(77, &number, sizeof number, 6);  // another level is not looked at
    CHECK_EQ(sendmsg(pair.a, &message.header, 0), 1);
}

TEST("credentials_and_rights_together") {
    Pair pair;
    set_int_option(pair.b, SO_PASSCRED, 1);
    send_fd(pair.a, 0);
    Message message(1);
    CHECK_EQ(recvmsg(pair.b, &message.header, 0), 1);
    cmsghdr* first = CMSG_FIRSTHDR(&message.header);
    CHECK_EQ(first->cmsg_type, SCM_CREDENTIALS);
    CHECK(is_open(message.fd()));
    CHECK_EQ(message.header.msg_controllen, CMSG_SPACE(sizeof(Ids)) + CMSG_SPACE(sizeof(int)));
}

TEST("peergroups") {
    CHECK_EXITED(run_child([] {
                     gid_t groups[3] = {11, 22, 33};
                     OK(setgroups(3, groups));
                     Pair pair;
                     gid_t shown[8] = {};
                     socklen_t length = sizeof shown;
                     OK(getsockopt(pair.a, SOL_SOCKET, SO_PEERGROUPS, shown, &length));
                     CHECK_EQ(length, 3 * sizeof(gid_t));
                     CHECK_EQ(shown[0], 11);
                     CHECK_EQ(shown[2], 33);
                     length = sizeof(gid_t);
                     CHECK_ERRNO(getsockopt(pair.a, SOL_SOCKET, SO_PEERGROUPS, shown, &length), ERANGE);
                     CHECK_EQ(length, 3 * sizeof(gid_t));
                     int alone = OK(socket(AF_UNIX, SOCK_STREAM, 0));
                     CHECK_ERRNO(getsockopt(alone, SOL_SOCKET, SO_PEERGROUPS, shown, &length), ENODATA);
                 }),
                 0);
}

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#define SO_PEERPIDFD 77
#endif
#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

namespace {

// The number of the process that a descriptor stands for.
pid_t process_of(int pidfd) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    CHECK_GT(read_file(path, text, sizeof text), 0);
    const char* const line = strstr(text, "Pid:");
    CHECK(line != nullptr);
    return static_cast<pid_t>(atoi(line + 4));
}

}  // namespace

TEST("peerpidfd_names_who_connected") {
    const Name name = abstract_name("peerpidfd");
    const int listener = listening(name);
    const pid_t child = OK(fork());
    if (child == 0) {
        const int fd = connected(name);
        char byte;
        (void)!read(fd, &byte, 1);
        _exit(0);
    }
    const int server = OK(accept(listener, nullptr, nullptr));
    int pidfd = -1;
    socklen_t length = sizeof pidfd;
    OK(getsockopt(server, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length));
    CHECK_EQ(length, sizeof pidfd);
    CHECK_EQ(process_of(pidfd), child);
    CHECK_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(setsockopt(server, SOL_SOCKET, SO_PASSPIDFD, &pidfd, sizeof pidfd), 0);
    OK(close(server));
    int status;
    CHECK_EQ(OK(waitpid(child, &status, 0)), child);
    const int alone = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_ERRNO(getsockopt(alone, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length), ENODATA);
}

TEST("passpidfd_brings_the_sender") {
    const Pair pair(SOCK_DGRAM);
    int on = 1, got = 0;
    socklen_t length = sizeof got;
    OK(setsockopt(pair.b, SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on));
    OK(getsockopt(pair.b, SOL_SOCKET, SO_PASSPIDFD, &got, &length));
    CHECK_EQ(got, 1);
    const pid_t child = OK(fork());
    if (child == 0) {
        OK(send(pair.a, "x", 1, 0));
        pause();
    }
    char byte;
    alignas(cmsghdr) char control[256];
    iovec vector = {&byte, 1};
    msghdr message{};
    message.msg_iov = &vector, message.msg_iovlen = 1;
    message.msg_control = control, message.msg_controllen = sizeof control;
    CHECK_EQ(OK(recvmsg(pair.b, &message, 0)), 1);
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    CHECK(header != nullptr);
    CHECK_EQ(header->cmsg_level, SOL_SOCKET);
    CHECK_EQ(header->cmsg_type, SCM_PIDFD);
    CHECK_EQ(header->cmsg_len, CMSG_LEN(sizeof(int)));
    int pidfd;
    memcpy(&pidfd, CMSG_DATA(header), sizeof pidfd);
    CHECK_EQ(process_of(pidfd), child);
    OK(send(pair.a, "x", 1, 0));
    message.msg_controllen = 8;
    CHECK_EQ(OK(recvmsg(pair.b, &message, 0)), 1);
    CHECK(message.msg_flags & MSG_CTRUNC);
    OK(kill(child, SIGKILL));
    const int inet_socket = OK(socket(AF_INET, SOCK_STREAM, 0));
    CHECK_ERRNO(setsockopt(inet_socket, SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on), EOPNOTSUPP);
}
