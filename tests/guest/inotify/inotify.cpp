// inotify(7): each case on tmpfs (/tmp), and the basic ones on the root file system (/scratch) too.
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <string>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

std::string bits(uint32_t mask) {
    static constexpr struct {
        uint32_t bit;
        const char* name;
    } kNames[] = {{IN_ACCESS, "ACCESS"},       {IN_MODIFY, "MODIFY"},
                  {IN_ATTRIB, "ATTRIB"},       {IN_CLOSE_WRITE, "CLOSE_WRITE"},
                  {IN_CLOSE_NOWRITE, "CLOSE"}, {IN_OPEN, "OPEN"},
                  {IN_MOVED_FROM, "FROM"},     {IN_MOVED_TO, "TO"},
                  {IN_CREATE, "CREATE"},       {IN_DELETE, "DELETE"},
                  {IN_DELETE_SELF, "DELSELF"}, {IN_MOVE_SELF, "MOVESELF"},
                  {IN_UNMOUNT, "UNMOUNT"},     {IN_Q_OVERFLOW, "OVERFLOW"},
                  {IN_IGNORED, "IGNORED"},     {IN_ISDIR, "DIR"}};
    std::string text;
    for (auto& one : kNames)
        if (mask & one.bit) text += (text.empty() ? "" : "|") + std::string(one.name);
    return text;
}

struct Watcher {
    int fd;
    explicit Watcher(int flags = IN_NONBLOCK) : fd(OK(inotify_init1(flags))) {}
    int add(const char* path, uint32_t mask) { return OK(inotify_add_watch(fd, path, mask)); }
    // What came: "WD:BITS:NAME WD:BITS ...", in order.
    const char* seen() {
        alignas(8) static char buffer[65536];
        static std::string text;
        text.clear();
        ssize_t size = read(fd, buffer, sizeof buffer);
        for (ssize_t at = 0; at < size;) {
            auto* event = reinterpret_cast<inotify_event*>(buffer + at);
            if (!text.empty()) text += ' ';
            text += std::to_string(event->wd) + ":" + bits(event->mask);
            if (event->len) text += ":" + std::string(event->name);
            at += sizeof *event + event->len;
        }
        return text.c_str();
    }
};

void touch(const char* path) { close(OK(open(path, O_WRONLY | O_CREAT, 0644))); }

}  // namespace

TEST("create_write_and_close_in_a_directory") {
    scratch();
    Watcher watcher;
    watcher.add(".", IN_ALL_EVENTS);
    int fd = OK(open("f", O_WRONLY | O_CREAT, 0644));
    CHECK_STREQ(watcher.seen(), "1:CREATE:f 1:OPEN:f");
    CHECK_EQ(write(fd, "abc", 3), 3);
    CHECK_STREQ(watcher.seen(), "1:MODIFY:f");
    OK(close(fd));
    CHECK_STREQ(watcher.seen(), "1:CLOSE_WRITE:f");
    OK(unlink("f"));
    CHECK_STREQ(watcher.seen(), "1:DELETE:f");
}

TEST("events_on_the_root_file_system") {
    OK(chdir("/scratch"));
    unlink("in_file");
    Watcher watcher;
    watcher.add("/scratch", IN_ALL_EVENTS);
    int fd = OK(open("in_file", O_RDWR | O_CREAT, 0644));
    CHECK_EQ(write(fd, "abc", 3), 3);
    char byte;
    CHECK_EQ(pread(fd, &byte, 1, 0), 1);
    OK(close(fd));
    OK(rename("in_file", "in_other"));
    OK(unlink("in_other"));
    CHECK_STREQ(watcher.seen(),
                "1:CREATE:in_file 1:OPEN:in_file 1:MODIFY:in_file 1:ACCESS:in_file 1:CLOSE_WRITE:in_file "
                "1:FROM:in_file 1:TO:in_other 1:DELETE:in_other");
}

TEST("self_events_on_the_root_file_system") {
    OK(chdir("/scratch"));
    touch("in_self");
    Watcher watcher;
    watcher.add("in_self", IN_ALL_EVENTS);
    OK(chmod("in_self", 0600));
    OK(unlink("in_self"));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB 1:DELSELF 1:IGNORED");
}

TEST("read_and_close_of_a_watched_file") {
    scratch();
    CHECK(write_file("f", "text"));
    Watcher watcher;
    watcher.add("f", IN_ALL_EVENTS);
    char buffer[10];
    int fd = OK(open("f", O_RDONLY));
    CHECK_EQ(read(fd, buffer, 10), 4);
    CHECK_EQ(read(fd, buffer, 10), 0);
    OK(close(fd));
    CHECK_STREQ(watcher.seen(), "1:OPEN 1:ACCESS 1:CLOSE");
}

TEST("directory_and_file_watch_both_tell") {
    scratch();
    CHECK(write_file("f", "text"));
    Watcher watcher;
    watcher.add("f", IN_OPEN);
    watcher.add(".", IN_OPEN);
    close(OK(open("f", O_RDONLY)));
    CHECK_STREQ(watcher.seen(), "2:OPEN:f 1:OPEN");
}

TEST("directories_are_marked") {
    scratch();
    Watcher watcher;
    watcher.add(".", IN_ALL_EVENTS);
    OK(mkdir("d", 0755));
    CHECK_STREQ(watcher.seen(), "1:CREATE|DIR:d");
    close(OK(open("d", O_RDONLY | O_DIRECTORY)));
    CHECK_STREQ(watcher.seen(), "1:OPEN|DIR:d 1:CLOSE|DIR:d");
    OK(rmdir("d"));
    CHECK_STREQ(watcher.seen(), "1:DELETE|DIR:d");
}

TEST("opening_the_watched_directory_itself") {
    scratch();
    Watcher watcher;
    watcher.add(".", IN_OPEN | IN_CLOSE);
    close(OK(open(".", O_RDONLY | O_DIRECTORY)));
    CHECK_STREQ(watcher.seen(), "1:OPEN|DIR 1:CLOSE|DIR");
}

TEST("other_kinds_of_names") {
    scratch();
    touch("f");
    Watcher watcher;
    watcher.add(".", IN_CREATE);
    OK(symlink("nowhere", "s"));
    OK(mkfifo("p", 0600));
    OK(link("f", "l"));
    CHECK_STREQ(watcher.seen(), "1:CREATE:s 1:CREATE:p 1:CREATE:l");
}

TEST("link_changes_attributes_of_the_file") {
    scratch();
    touch("f");
    Watcher watcher;
    watcher.add("f", IN_ALL_EVENTS);
    OK(link("f", "l"));
    OK(unlink("l"));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB");
    OK(unlink("f"));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB 1:DELSELF 1:IGNORED");
}

TEST("rename_has_a_cookie") {
    scratch();
    OK(mkdir("a", 0755));
    OK(mkdir("b", 0755));
    touch("a/f");
    Watcher watcher;
    watcher.add("a", IN_MOVE);
    watcher.add("b", IN_MOVE);
    watcher.add("a/f", IN_MOVE_SELF);
    OK(rename("a/f", "b/g"));
    alignas(8) char buffer[500];
    ssize_t size = read(watcher.fd, buffer, sizeof buffer);
    CHECK_EQ(size, 3 * 16 + 2 * 16);
    auto* from = reinterpret_cast<inotify_event*>(buffer);
    auto* to = reinterpret_cast<inotify_event*>(buffer + 32);
    auto* self = reinterpret_cast<inotify_event*>(buffer + 64);
    CHECK_EQ(from->mask, IN_MOVED_FROM);
    CHECK_STREQ(from->name, "f");
    CHECK_EQ(to->mask, IN_MOVED_TO);
    CHECK_STREQ(to->name, "g");
    CHECK_NE(from->cookie, 0);
    CHECK_EQ(from->cookie, to->cookie);
    CHECK_EQ(self->mask, IN_MOVE_SELF);
    CHECK_EQ(self->cookie, 0);
}

TEST("rename_over_a_watched_file_ends_it") {
    scratch();
    touch("a");
    touch("b");
    Watcher watcher;
    watcher.add("b", IN_ALL_EVENTS);
    OK(rename("a", "b"));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB 1:DELSELF 1:IGNORED");
}

TEST("rename_of_a_directory") {
    scratch();
    OK(mkdir("d", 0755));
    Watcher watcher;
    watcher.add(".", IN_MOVE);
    watcher.add("d", IN_MOVE_SELF);
    OK(rename("d", "e"));
    CHECK_STREQ(watcher.seen(), "1:FROM|DIR:d 1:TO|DIR:e 2:MOVESELF");
}

TEST("watch_follows_the_renamed_file") {
    scratch();
    touch("f");
    Watcher watcher;
    watcher.add("f", IN_MODIFY);
    OK(rename("f", "g"));
    CHECK(write_file("g", "x"));
    CHECK_STREQ(watcher.seen(), "1:MODIFY");
}

TEST("deleted_while_open_ends_at_close") {
    scratch();
    int fd = OK(open("f", O_WRONLY | O_CREAT, 0644));
    Watcher watcher;
    watcher.add("f", IN_ATTRIB | IN_DELETE_SELF | IN_CLOSE);
    OK(unlink("f"));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB");
    OK(close(fd));
    CHECK_STREQ(watcher.seen(), "1:CLOSE_WRITE 1:DELSELF 1:IGNORED");
}

TEST("removed_directory_ends_its_watch") {
    scratch();
    OK(mkdir("d", 0755));
    Watcher watcher;
    watcher.add("d", IN_ALL_EVENTS);
    OK(rmdir("d"));
    CHECK_STREQ(watcher.seen(), "1:DELSELF 1:IGNORED");
    CHECK_ERRNO(inotify_rm_watch(watcher.fd, 1), EINVAL);
}

TEST("attribute_changes") {
    scratch();
    touch("f");
    Watcher watcher;
    watcher.add("f", IN_ATTRIB | IN_MODIFY | IN_ACCESS);
    OK(chmod("f", 0600));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB");
    OK(chown("f", 1, 1));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB");
    OK(utimensat(AT_FDCWD, "f", nullptr, 0));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB");
    timespec only_access[2] = {{1, 0}, {0, UTIME_OMIT}}, only_change[2] = {{0, UTIME_OMIT}, {1, 0}};
    OK(utimensat(AT_FDCWD, "f", only_access, 0));
    CHECK_STREQ(watcher.seen(), "1:ACCESS");
    OK(utimensat(AT_FDCWD, "f", only_change, 0));
    CHECK_STREQ(watcher.seen(), "1:MODIFY");
}

TEST("attribute_changes_by_descriptor") {
    scratch();
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
    Watcher watcher;
    watcher.add("f", IN_ATTRIB | IN_MODIFY);
    OK(fchmod(fd, 0600));
    OK(fchown(fd, 1, 1));
    CHECK_STREQ(watcher.seen(), "1:ATTRIB");
    OK(ftruncate(fd, 100));
    CHECK_STREQ(watcher.seen(), "1:MODIFY");
}

TEST("truncation_is_a_modification") {
    scratch();
    CHECK(write_file("f", "text"));
    Watcher watcher;
    watcher.add("f", IN_MODIFY | IN_OPEN);
    OK(truncate("f", 1));
    CHECK_STREQ(watcher.seen(), "1:MODIFY");
    close(OK(open("f", O_WRONLY | O_TRUNC)));
    CHECK_STREQ(watcher.seen(), "1:OPEN 1:MODIFY");
}

TEST("reading_a_directory_is_an_access") {
    scratch();
    Watcher watcher;
    watcher.add(".", IN_ACCESS);
    int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
    char buffer[1000];
    CHECK_GT(syscall(217, fd, buffer, sizeof buffer), 0);
    CHECK_STREQ(watcher.seen(), "1:ACCESS|DIR");
}

TEST("executing_a_program_opens_it") {
    Watcher watcher;
    watcher.add("/bin/true", IN_OPEN);
    CHECK_EXITED(run_child([] {
                     execl("/bin/true", "true", nullptr);
                     _exit(3);
                 }),
                 0);
    CHECK_STREQ(watcher.seen(), "1:OPEN");
}

TEST("same_events_in_a_row_are_one") {
    scratch();
    int fd = OK(open("f", O_WRONLY | O_CREAT, 0644));
    Watcher watcher;
    watcher.add("f", IN_MODIFY);
    for (int i = 0; i < 5; ++i) CHECK_EQ(write(fd, "x", 1), 1);
    CHECK_STREQ(watcher.seen(), "1:MODIFY");
}

TEST("only_wanted_events_come") {
    scratch();
    Watcher watcher;
    watcher.add(".", IN_DELETE);
    touch("f");
    CHECK_STREQ(watcher.seen(), "");
    CHECK_EQ(errno, EAGAIN);
    OK(unlink("f"));
    CHECK_STREQ(watcher.seen(), "1:DELETE:f");
}

TEST("oneshot_ends_after_one_event") {
    scratch();
    Watcher watcher;
    watcher.add(".", IN_CREATE | IN_ONESHOT);
    touch("a");
    touch("b");
    CHECK_STREQ(watcher.seen(), "1:CREATE:a 1:IGNORED");
    CHECK_EQ(watcher.add(".", IN_CREATE), 2);
}

TEST("excluded_events_of_unlinked_files") {
    scratch();
    int a = OK(open("a", O_WRONLY | O_CREAT, 0644)), b = OK(open("b", O_WRONLY | O_CREAT, 0644));
    Watcher watcher;
    watcher.add(".", IN_MODIFY | IN_EXCL_UNLINK);
    OK(unlink("a"));
    CHECK_EQ(write(a, "x", 1), 1);
    CHECK_EQ(write(b, "x", 1), 1);
    CHECK_STREQ(watcher.seen(), "1:MODIFY:b");
}

TEST("watch_flags") {
    scratch();
    touch("f");
    OK(mkdir("d", 0755));
    OK(symlink("d", "s"));
    Watcher watcher;
    CHECK_ERRNO(inotify_add_watch(watcher.fd, "f", IN_OPEN | IN_ONLYDIR), ENOTDIR);
    int d = watcher.add("s", IN_OPEN | IN_ONLYDIR);
    CHECK_EQ(watcher.add("d", IN_OPEN), d);
    CHECK_NE(watcher.add("s", IN_OPEN | IN_DONT_FOLLOW), d);
    CHECK_ERRNO(inotify_add_watch(watcher.fd, "d", IN_OPEN | IN_MASK_CREATE), EEXIST);
    CHECK_ERRNO(inotify_add_watch(watcher.fd, "d", IN_OPEN | IN_MASK_CREATE | IN_MASK_ADD), EINVAL);
}

TEST("mask_is_replaced_or_added_to") {
    scratch();
    touch("f");
    Watcher watcher;
    int wd = watcher.add("f", IN_OPEN);
    CHECK_EQ(watcher.add("f", IN_CLOSE | IN_MASK_ADD), wd);
    close(OK(open("f", O_RDONLY)));
    CHECK_STREQ(watcher.seen(), "1:OPEN 1:CLOSE");
    CHECK_EQ(watcher.add("f", IN_CLOSE), wd);
    close(OK(open("f", O_RDONLY)));
    CHECK_STREQ(watcher.seen(), "1:CLOSE");
}

TEST("add_watch_errors") {
    scratch();
    Watcher watcher;
    CHECK_ERRNO(inotify_add_watch(watcher.fd, ".", 0), EINVAL);
    CHECK_ERRNO(inotify_add_watch(watcher.fd, "absent", IN_OPEN), ENOENT);
    CHECK_ERRNO(inotify_add_watch(watcher.fd, reinterpret_cast<char*>(8), IN_OPEN), EFAULT);
    CHECK_ERRNO(inotify_add_watch(-1, ".", IN_OPEN), EBADF);
    CHECK_ERRNO(inotify_add_watch(OK(open(".", O_RDONLY)), ".", IN_OPEN), EINVAL);
    CHECK_ERRNO(inotify_rm_watch(watcher.fd, 1), EINVAL);
    CHECK_ERRNO(inotify_init1(1), EINVAL);
}

TEST("watching_needs_read_permission") {
    scratch();
    OK(mkdir("d", 0711));
    CHECK_EXITED(run_child([] {
                     OK(setuid(1000));
                     Watcher watcher;
                     CHECK_ERRNO(inotify_add_watch(watcher.fd, "d", IN_OPEN), EACCES);
                 }),
                 0);
}

TEST("remove_watch_tells_ignored") {
    scratch();
    Watcher watcher;
    int wd = watcher.add(".", IN_CREATE);
    OK(inotify_rm_watch(watcher.fd, wd));
    touch("f");
    CHECK_STREQ(watcher.seen(), "1:IGNORED");
    CHECK_ERRNO(inotify_rm_watch(watcher.fd, wd), EINVAL);
}

TEST("buffer_too_small_for_an_event") {
    scratch();
    Watcher watcher;
    watcher.add(".", IN_CREATE);
    touch("f");
    char buffer[64];
    CHECK_ERRNO(read(watcher.fd, buffer, 31), EINVAL);
    CHECK_EQ(read(watcher.fd, buffer, 32), 32);
}

TEST("bytes_waiting_and_poll") {
    scratch();
    Watcher watcher;
    watcher.add(".", IN_CREATE);
    pollfd one{watcher.fd, POLLIN, 0};
    CHECK_EQ(poll(&one, 1, 0), 0);
    touch("a");
    touch("a_name_of_sixteen");
    int bytes = 0;
    OK(ioctl(watcher.fd, FIONREAD, &bytes));
    CHECK_EQ(bytes, 16 + 16 + 16 + 32);
    CHECK_EQ(poll(&one, 1, 0), 1);
    CHECK_EQ(one.revents, POLLIN);
}

TEST("read_waits_for_an_event") {
    scratch();
    Watcher watcher(0);
    watcher.add(".", IN_CREATE);
    pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(30);
        touch("late");
        _exit(0);
    }
    CHECK_STREQ(watcher.seen(), "1:CREATE:late");
    int status;
    OK(waitpid(pid, &status, 0));
}

TEST("queue_overflow") {
    scratch();
    touch("a");
    touch("b");
    Watcher watcher;
    watcher.add(".", IN_ATTRIB);
    for (int i = 0; i < 8300; ++i) {
        OK(chmod("a", 0600));
        OK(chmod("b", 0600));
    }
    int events = 0;
    uint32_t last = 0;
    alignas(8) static char buffer[65536];
    for (ssize_t size; (size = read(watcher.fd, buffer, sizeof buffer)) > 0;)
        for (ssize_t at = 0; at < size; ++events) {
            auto* event = reinterpret_cast<inotify_event*>(buffer + at);
            last = event->mask;
            at += static_cast<ssize_t>(sizeof *event + event->len);
        }
    CHECK_EQ(events, 16385);
    CHECK_EQ(last, IN_Q_OVERFLOW);
}

TEST("instances_are_limited_per_user") {
    CHECK_EXITED(run_child([] {
                     OK(setuid(4711));
                     int made = 0;
                     while (inotify_init1(0) >= 0) ++made;
                     CHECK_EQ(errno, EMFILE);
                     char text[32];
                     CHECK_GT(read_file("/proc/sys/fs/inotify/max_user_instances", text, sizeof text), 0);
                     CHECK_EQ(made, atoi(text));
                 }),
                 0);
}

TEST("two_instances_are_independent") {
    scratch();
    Watcher one, other;
    one.add(".", IN_CREATE);
    other.add(".", IN_DELETE);
    touch("f");
    OK(unlink("f"));
    CHECK_STREQ(one.seen(), "1:CREATE:f");
    CHECK_STREQ(other.seen(), "1:DELETE:f");
}

TEST("path_only_descriptors_tell_nothing") {
    scratch();
    touch("f");
    Watcher watcher;
    watcher.add("f", IN_ALL_EVENTS);
    close(OK(open("f", O_PATH)));
    CHECK_STREQ(watcher.seen(), "");
}

TEST("described_in_proc") {
    Watcher watcher;
    char path[64], text[100] = {};
    snprintf(path, sizeof path, "/proc/self/fd/%d", watcher.fd);
    OK(readlink(path, text, sizeof text - 1));
    CHECK_STREQ(text, "anon_inode:inotify");
    scratch();
    watcher.add(".", IN_CREATE);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", watcher.fd);
    char info[1000];
    CHECK_GT(read_file(path, info, sizeof info), 0);
    CHECK(strstr(info, "inotify wd:1 ino:"));
    CHECK(strstr(info, " mask:100 ignored_mask:0 "));
}
