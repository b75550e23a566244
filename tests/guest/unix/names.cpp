// bind and the names of sockets: in the file system, abstract, made up.
#include "tests/guest/unix/unix_test.hpp"

namespace {
int try_bind(const Name& name, int type = SOCK_STREAM) {
    int fd = OK(socket(AF_UNIX, type, 0));
    int result = bind(fd, name.get(), name.length);
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
}
int try_connect(const Name& name, int type = SOCK_STREAM) {
    int fd = OK(socket(AF_UNIX, type, 0));
    int result = connect(fd, name.get(), name.length);
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
}
Name name_of(int fd) {
    Name name;
    name.length = sizeof name.address;
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(&name.address), &name.length));
    return name;
}
}  // namespace

TEST("bind_makes_a_socket_node") {
    scratch();
    umask(027);
    int fd = bound(SOCK_STREAM, path_name("s"));
    struct stat info, own;
    OK(stat("s", &info));
    CHECK_EQ(info.st_mode, S_IFSOCK | 0750);
    OK(fstat(fd, &own));
    CHECK_NE(info.st_ino, own.st_ino);
}

TEST("bind_uses_the_mode_of_the_socket") {
    scratch();
    umask(0);
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    OK(fchmod(fd, 0600));
    Name name = path_name("s");
    OK(bind(fd, name.get(), name.length));
    struct stat info;
    OK(stat("s", &info));
    CHECK_EQ(info.st_mode, S_IFSOCK | 0600);
}

TEST("getsockname_gives_the_path_with_its_nul") {
    scratch();
    Name name = path_name("abc");
    name.length -= 1;  // without the NUL
    int fd = bound(SOCK_STREAM, name);
    Name shown = name_of(fd);
    CHECK_EQ(shown.length, kPathAt + 4);
    CHECK_STREQ(shown.address.sun_path, "abc");
}

TEST("bind_stops_at_the_nul") {
    scratch();
    Name name = path_name("abc");
    name.length = sizeof name.address;
    CHECK_EQ(name_of(bound(SOCK_STREAM, name)).length, kPathAt + 4);
}

TEST("bind_longest_path") {
    scratch();
    Name name;
    name.address.sun_family = AF_UNIX;
    memset(name.address.sun_path, 'x', sizeof name.address.sun_path);
    name.length = sizeof name.address;
    int fd = bound(SOCK_STREAM, name);
    char shown[128] = {};
    socklen_t length = sizeof shown;
    OK(getsockname(fd, reinterpret_cast<sockaddr*>(shown), &length));
    CHECK_EQ(length, sizeof(sockaddr_un) + 1);
    CHECK_EQ(strlen(shown + kPathAt), 108);
    struct stat info;
    OK(stat(shown + kPathAt, &info));
}

TEST("bind_existing_name_is_in_use") {
    scratch();
    write_file("file", "x");
    CHECK_ERRNO(try_bind(path_name("file")), EADDRINUSE);
    OK(try_bind(path_name("s")));
    CHECK_ERRNO(try_bind(path_name("s")), EADDRINUSE);  // though its socket is closed
}

TEST("bind_path_errors") {
    scratch();
    CHECK_ERRNO(try_bind(path_name("missing/s")), ENOENT);
    write_file("file", "x");
    CHECK_ERRNO(try_bind(path_name("file/s")), ENOTDIR);
    OK(symlink("nowhere", "link"));
    CHECK_ERRNO(try_bind(path_name("link")), EADDRINUSE);
}

TEST("bind_bad_addresses") {
    Name name = path_name("s");
    name.length = 1;
    CHECK_ERRNO(try_bind(name), EINVAL);
    name.length = sizeof name.address + 1;
    CHECK_ERRNO(try_bind(name), EINVAL);
    name = path_name("s");
    name.address.sun_family = AF_INET;
    CHECK_ERRNO(try_bind(name), EINVAL);
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_ERRNO(bind(fd, name.get(), static_cast<socklen_t>(-1)), EINVAL);
    CHECK_ERRNO(bind(fd, name.get(), 200), EINVAL);
    CHECK_ERRNO(bind(fd, reinterpret_cast<sockaddr*>(8), 10), EFAULT);
}

TEST("bind_twice") {
    scratch();
    int fd = bound(SOCK_STREAM, path_name("one"));
    Name two = path_name("two"), one = path_name("one"), abstract = abstract_name("kvmsbx-two");
    CHECK_ERRNO(bind(fd, two.get(), two.length), EINVAL);
    CHECK_ERRNO(access("two", F_OK), ENOENT);
    CHECK_ERRNO(bind(fd, one.get(), one.length), EADDRINUSE);
    CHECK_ERRNO(bind(fd, abstract.get(), abstract.length), EINVAL);
}

TEST("bind_wants_permission_for_the_directory") {
    scratch();
    OK(mkdir("closed", 0755));
    CHECK_EXITED(run_child([] {
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_ERRNO(try_bind(path_name("closed/s")), EACCES);
                 }),
                 0);
}

TEST("connect_by_path") {
    scratch();
    int server = listening(path_name("s"));
    int client = connected(path_name("s"));
    int accepted = OK(accept(server, nullptr, nullptr));
    send_text(client, "hello");
    expect_text(accepted, "hello");
}

TEST("connect_through_link_and_other_name") {
    scratch();
    listening(path_name("s"));
    OK(symlink("s", "link"));
    OK(try_connect(path_name("link")));
    OK(link("s", "hard"));
    OK(try_connect(path_name("hard")));
    OK(rename("s", "moved"));
    OK(try_connect(path_name("moved")));
    CHECK_ERRNO(try_connect(path_name("s")), ENOENT);
}

TEST("connect_by_absolute_path") {
    const char* folder = scratch();
    listening(path_name("s"));
    OK(chdir("/"));
    char path[108];
    snprintf(path, sizeof path, "%s/s", folder);
    OK(try_connect(path_name(path)));
}

TEST("connect_refused") {
    scratch();
    write_file("file", "x");
    CHECK_ERRNO(try_connect(path_name("file")), ECONNREFUSED);
    bound(SOCK_STREAM, path_name("deaf"));
    CHECK_ERRNO(try_connect(path_name("deaf")), ECONNREFUSED);
    int fd = listening(path_name("s"));
    OK(close(fd));
    CHECK_ERRNO(try_connect(path_name("s")), ECONNREFUSED);
    CHECK_ERRNO(try_connect(path_name("missing")), ENOENT);
    OK(mknod("node", S_IFSOCK | 0777, 0));
    CHECK_ERRNO(try_connect(path_name("node")), ECONNREFUSED);
}

TEST("connect_to_another_type") {
    scratch();
    listening(path_name("s"));
    CHECK_ERRNO(try_connect(path_name("s"), SOCK_DGRAM), EPROTOTYPE);
    CHECK_ERRNO(try_connect(path_name("s"), SOCK_SEQPACKET), EPROTOTYPE);
}

TEST("connect_wants_write_permission") {
    scratch();
    listening(path_name("s"));
    OK(chmod("s", 0755));
    CHECK_EXITED(run_child([] {
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_ERRNO(try_connect(path_name("s")), EACCES);
                 }),
                 0);
    OK(chmod("s", 0722));
    CHECK_EXITED(run_child([] {
                     OK(setresuid(1000, 1000, 1000));
                     OK(try_connect(path_name("s")));
                 }),
                 0);
}

TEST("new_socket_under_an_unlinked_name") {
    scratch();
    int old_server = listening(path_name("s"));
    OK(unlink("s"));
    CHECK_ERRNO(try_connect(path_name("s")), ENOENT);
    int server = listening(path_name("s"));
    connected(path_name("s"));
    OK(accept(server, nullptr, nullptr));
    OK(fcntl(old_server, F_SETFL, O_NONBLOCK));
    CHECK_ERRNO(accept(old_server, nullptr, nullptr), EAGAIN);
    OK(close(old_server));
    connected(path_name("s"));
    OK(accept(server, nullptr, nullptr));
}

TEST("open_of_a_socket_node") {
    scratch();
    bound(SOCK_STREAM, path_name("s"));
    CHECK_ERRNO(open("s", O_RDWR), ENXIO);
    int fd = OK(open("s", O_PATH));
    char byte;
    CHECK_ERRNO(recv(fd, &byte, 1, 0), EBADF);
}

TEST("socket_on_the_root_file_system") {
    unlink("/kvmsbx-socket");
    int server = listening(path_name("/kvmsbx-socket"));
    struct stat info;
    OK(stat("/kvmsbx-socket", &info));
    CHECK(S_ISSOCK(info.st_mode));
    int client = connected(path_name("/kvmsbx-socket"));
    int accepted = OK(accept(server, nullptr, nullptr));
    send_text(accepted, "root");
    expect_text(client, "root");
    OK(unlink("/kvmsbx-socket"));
    CHECK_ERRNO(try_connect(path_name("/kvmsbx-socket")), ENOENT);
}

TEST("abstract_name_goes_with_its_socket") {
    Name name = abstract_name("kvmsbx-abstract");
    int fd = listening(name);
    OK(try_connect(name));
    CHECK_ERRNO(try_bind(name), EADDRINUSE);
    OK(close(fd));
    CHECK_ERRNO(try_connect(name), ECONNREFUSED);
    OK(try_bind(name));
}

TEST("abstract_names_count_every_byte") {
    Name name = abstract_name("kvmsbx-bytes"), longer = name;
    longer.length += 1;
    listening(name);
    CHECK_ERRNO(try_connect(longer), ECONNREFUSED);
    OK(try_bind(longer));
}

TEST("abstract_names_are_per_type") {
    Name name = abstract_name("kvmsbx-types");
    listening(name);
    CHECK_ERRNO(try_connect(name, SOCK_SEQPACKET), ECONNREFUSED);
    listening(name, SOCK_SEQPACKET);
    OK(try_connect(name, SOCK_SEQPACKET));
}

TEST("abstract_name_in_getsockname") {
    Name shown = name_of(bound(SOCK_DGRAM, abstract_name("kvmsbx-shown")));
    CHECK_EQ(shown.length, kPathAt + 13);
    CHECK_EQ(memcmp(shown.address.sun_path, "\0kvmsbx-shown", 13), 0);
}

TEST("autobind_makes_up_a_name") {
    Name family;
    family.address.sun_family = AF_UNIX;
    family.length = kPathAt;
    int fd = bound(SOCK_STREAM, family), other = bound(SOCK_STREAM, family);
    Name shown = name_of(fd);
    CHECK_EQ(shown.length, kPathAt + 6);
    CHECK_EQ(shown.address.sun_path[0], 0);
    for (int i = 1; i < 6; ++i) CHECK(strchr("0123456789abcdef", shown.address.sun_path[i]) != nullptr);
    CHECK_NE(memcmp(name_of(other).address.sun_path, shown.address.sun_path, 6), 0);
    OK(listen(fd, 1));
    OK(try_connect(shown));
}

TEST("autobind_of_a_bound_socket_changes_nothing") {
    int fd = bound(SOCK_STREAM, abstract_name("kvmsbx-kept"));
    Name family;
    family.address.sun_family = AF_UNIX;
    family.length = kPathAt;
    OK(bind(fd, family.get(), family.length));
    CHECK_EQ(name_of(fd).length, kPathAt + 12);
}

TEST("proc_net_unix_lists_sockets") {
    int fd = listening(abstract_name("kvmsbx-listed"));
    struct stat info;
    OK(fstat(fd, &info));
    static char text[1 << 18];
    OK(read_file("/proc/net/unix", text, sizeof text));
    CHECK_EQ(strncmp(text, "Num       RefCount Protocol Flags    Type St Inode Path\n", 56), 0);
    char expected[80];
    snprintf(expected, sizeof expected, " 00000000 00010000 0001 01 %5lu @kvmsbx-listed\n", info.st_ino);
    CHECK(strstr(text, expected) != nullptr);
}
