// fcntl(2), "File and directory change notification (dnotify)". The signals are blocked and taken one by one; a
// real-time signal queues, so that each event counts.
#include <fcntl.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cstdlib>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr int kPollMsg = 3;                               // si_code POLL_MSG
constexpr long kMessageBand = 0x001 | 0x040 | 0x400;      // POLLIN | POLLRDNORM | POLLMSG
constexpr unsigned kMultishot = 0x80000000, kAll = 0x3f;  // DN_MULTISHOT; all events

siginfo_t last;  // of the signal taken last

int first_signal() { return SIGRTMIN + 3; }

void block(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    OK(sigprocmask(SIG_BLOCK, &set, nullptr));
}

bool take(int signal, int wait_ms = 0) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    const timespec time{wait_ms / 1000, wait_ms % 1000 * 1'000'000L};
    return sigtimedwait(&set, &last, &time) == signal;
}

int count(int signal) {
    int taken = 0;
    while (take(signal)) ++taken;
    return taken;
}
int count() { return count(first_signal()); }

int notify(int fd, unsigned mask) { return fcntl(fd, F_NOTIFY, static_cast<long>(mask)); }

// An open directory with a registration that sends first_signal().
int watch(const char* path, unsigned mask) {
    block(first_signal());
    const int fd = OK(open(path, O_RDONLY | O_DIRECTORY));
    OK(fcntl(fd, F_SETSIG, first_signal()));
    OK(notify(fd, mask));
    return fd;
}

void touch(const char* path) { close(OK(open(path, O_WRONLY | O_CREAT, 0644))); }

void make_file_events(const char* path) {
    char byte = 'x';
    const int fd = OK(open(path, O_RDWR | O_CREAT, 0644));
    CHECK_EQ(count(), 1);  // create
    CHECK_EQ(write(fd, &byte, 1), 1);
    CHECK_EQ(count(), 1);  // modify
    CHECK_EQ(pread(fd, &byte, 1, 0), 1);
    CHECK_EQ(count(), 1);  // access
    OK(close(fd));
    CHECK_EQ(count(), 0);
    OK(chmod(path, 0600));
    CHECK_EQ(count(), 1);  // attributes
    OK(unlink(path));
    CHECK_EQ(count(), 1);  // delete
}

}  // namespace

TEST("dnotify_tells_of_each_kind_of_event") {
    scratch();
    watch(".", kAll | kMultishot);
    make_file_events("f");
}

TEST("dnotify_on_the_root_file_system") {
    OK(chdir("/scratch"));
    unlink("dn_file");
    watch(".", kAll | kMultishot);
    make_file_events("dn_file");
}

TEST("dnotify_tells_only_what_was_wanted") {
    static constexpr unsigned kKinds[] = {DN_ACCESS, DN_MODIFY, DN_CREATE, DN_DELETE, DN_ATTRIB};
    scratch();
    for (const unsigned kind : kKinds) {
        char byte = 'x';
        const int directory = watch(".", kind | kMultishot);
        const int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
        CHECK_EQ(count(), kind == DN_CREATE);
        CHECK_EQ(write(fd, &byte, 1), 1);
        CHECK_EQ(count(), kind == DN_MODIFY);
        CHECK_EQ(pread(fd, &byte, 1, 0), 1);
        CHECK_EQ(count(), kind == DN_ACCESS);
        OK(ftruncate(fd, 0));
        CHECK_EQ(count(), kind == DN_MODIFY);
        OK(fchmod(fd, 0600));
        CHECK_EQ(count(), kind == DN_ATTRIB);
        OK(close(fd));
        OK(unlink("f"));
        CHECK_EQ(count(), kind == DN_DELETE);
        OK(close(directory));
    }
}

TEST("dnotify_tells_of_names_of_every_kind") {
    scratch();
    watch(".", DN_CREATE | DN_DELETE | kMultishot);
    OK(mkdir("d", 0755));
    OK(symlink("nowhere", "s"));
    OK(mkfifo("p", 0600));
    OK(link("p", "l"));
    CHECK_EQ(count(), 4);
    touch("d/f");  // below: not a child
    CHECK_EQ(count(), 0);
    OK(unlink("d/f"));
    OK(rmdir("d"));
    OK(unlink("s"));
    CHECK_EQ(count(), 2);
}

TEST("dnotify_tells_of_the_directory_itself") {
    scratch();
    OK(mkdir("d", 0755));
    const int fd = watch("d", DN_ATTRIB | DN_ACCESS | kMultishot);
    OK(chmod("d", 0700));
    CHECK_EQ(count(), 1);
    char buffer[1000];
    CHECK_GT(syscall(217, fd, buffer, sizeof buffer), 0);  // getdents64
    CHECK_EQ(count(), 1);
    OK(rename("d", "e"));
    CHECK_EQ(count(), 0);
}

TEST("dnotify_of_renames") {
    scratch();
    OK(mkdir("a", 0755));
    OK(mkdir("b", 0755));
    touch("a/f");
    const int a = watch("a", DN_RENAME | kMultishot);
    const int b = watch("b", DN_RENAME | kMultishot);
    OK(rename("a/f", "a/g"));
    CHECK_EQ(count(), 1);
    CHECK_EQ(last.si_fd, a);
    OK(rename("a/g", "b/g"));  // not within one directory
    CHECK_EQ(count(), 0);
    OK(notify(a, DN_DELETE | kMultishot));
    OK(notify(b, DN_CREATE | kMultishot));
    OK(rename("b/g", "a/g"));  // b wants no DN_DELETE, a no DN_CREATE
    CHECK_EQ(count(), 0);
    OK(rename("a/g", "b/g"));
    CHECK(take(first_signal()));
    CHECK_EQ(last.si_fd, a);
    CHECK(take(first_signal()));
    CHECK_EQ(last.si_fd, b);
    CHECK_EQ(count(), 0);
    OK(rename("b/g", "b/h"));  // a new name in b, too
    CHECK_EQ(count(), 2);
}

TEST("dnotify_of_exchanged_names") {
    scratch();
    touch("f");
    touch("g");
    watch(".", DN_RENAME | kMultishot);
    OK(static_cast<int>(syscall(316, AT_FDCWD, "f", AT_FDCWD, "g", 2)));  // renameat2, RENAME_EXCHANGE
    CHECK_EQ(count(), 2);
}

TEST("dnotify_sends_sigio_to_the_caller") {
    scratch();
    block(SIGIO);
    const int fd = OK(open(".", O_RDONLY));
    CHECK_EQ(fcntl(fd, F_GETOWN), 0);
    OK(notify(fd, DN_CREATE | kMultishot));
    CHECK_EQ(fcntl(fd, F_GETOWN), getpid());
    touch("a");
    touch("b");  // one SIGIO waits already
    CHECK_EQ(count(SIGIO), 1);
    CHECK_EQ(last.si_code, SI_KERNEL);
}

TEST("dnotify_without_multishot_tells_once") {
    scratch();
    const int fd = watch(".", DN_CREATE | DN_DELETE);
    touch("a");
    touch("b");
    OK(unlink("a"));
    CHECK_EQ(count(), 1);
    OK(notify(fd, DN_DELETE));
    touch("c");
    CHECK_EQ(count(), 0);
    OK(unlink("c"));
    OK(unlink("b"));
    CHECK_EQ(count(), 1);
}

TEST("dnotify_one_shot_is_used_up_by_one_event_of_a_rename") {
    scratch();
    touch("f");
    watch(".", DN_RENAME | DN_CREATE | DN_DELETE);
    OK(rename("f", "g"));
    CHECK_EQ(count(), 1);
}

TEST("dnotify_siginfo") {
    scratch();
    const int fd = watch(".", DN_CREATE | kMultishot);
    touch("a");
    CHECK(take(first_signal()));
    CHECK_EQ(last.si_fd, fd);
    CHECK_EQ(last.si_code, kPollMsg);
    CHECK_EQ(last.si_band, kMessageBand);
    block(SIGIO);
    OK(fcntl(fd, F_SETSIG, SIGIO));
    touch("b");
    CHECK(take(SIGIO));
    CHECK_EQ(last.si_code, kPollMsg);
    CHECK_EQ(last.si_fd, fd);
    block(SIGCHLD);  // has codes of its own
    OK(fcntl(fd, F_SETSIG, SIGCHLD));
    OK(static_cast<int>(reinterpret_cast<intptr_t>(signal(SIGCHLD, [](int) {}))));
    touch("c");
    CHECK(take(SIGCHLD));
    CHECK_EQ(last.si_code, SI_SIGIO);
}

TEST("dnotify_falls_back_to_sigio_when_no_more_signals_queue") {
    scratch();
    block(SIGIO);
    CHECK_EXITED(run_child([] {
                     watch(".", DN_CREATE | kMultishot);
                     const rlimit none{0, 0};
                     OK(setrlimit(RLIMIT_SIGPENDING, &none));
                     touch("a");
                     CHECK_EQ(count(), 0);
                     CHECK_EQ(count(SIGIO), 1);
                 }),
                 0);
}

TEST("dnotify_calls_accumulate") {
    scratch();
    const int fd = watch(".", DN_CREATE);
    const int copy = OK(dup(fd));
    OK(notify(copy, DN_DELETE | kMultishot));
    touch("a");
    OK(unlink("a"));
    touch("b");
    CHECK_EQ(count(), 3);
    CHECK_EQ(last.si_fd, copy);  // the descriptor of the last call
}

TEST("dnotify_ends_by_mask_0") {
    scratch();
    const int fd = watch(".", DN_CREATE | kMultishot);
    OK(notify(fd, 0));
    touch("a");
    CHECK_EQ(count(), 0);
    OK(notify(fd, DN_CREATE | kMultishot));
    touch("b");
    CHECK_EQ(count(), 1);
    OK(notify(fd, kMultishot));  // no event either
    touch("c");
    CHECK_EQ(count(), 0);
    OK(notify(fd, 0));
}

TEST("dnotify_ends_by_close") {
    scratch();
    OK(close(watch(".", DN_CREATE | kMultishot)));
    touch("a");
    CHECK_EQ(count(), 0);
    const int fd = watch(".", DN_CREATE | kMultishot);
    OK(close(OK(dup(fd))));  // any descriptor of the open file
    touch("b");
    CHECK_EQ(count(), 0);
    OK(notify(fd, DN_CREATE | kMultishot));
    OK(dup2(0, fd));
    touch("c");
    CHECK_EQ(count(), 0);
}

TEST("dnotify_errors") {
    scratch();
    touch("f");
    int ends[2];
    OK(pipe(ends));
    const int file = OK(open("f", O_RDWR));
    CHECK_ERRNO(notify(file, DN_MODIFY), ENOTDIR);
    CHECK_ERRNO(notify(ends[0], DN_MODIFY), ENOTDIR);
    CHECK_ERRNO(notify(OK(inotify_init()), DN_MODIFY), ENOTDIR);
    CHECK_ERRNO(notify(OK(open(".", O_PATH)), DN_MODIFY), EBADF);
    CHECK_ERRNO(notify(-1, DN_MODIFY), EBADF);
    OK(notify(file, 0));
    OK(notify(file, kMultishot));
    CHECK_ERRNO(notify(file, 0x40), ENOTDIR);
    const int directory = OK(open(".", O_RDONLY));
    OK(notify(directory, 0x40));  // unknown bits are no error
    CHECK_EQ(fcntl(directory, F_GETOWN), getpid());
}

TEST("dnotify_and_fork") {
    scratch();
    const int fd = watch(".", DN_CREATE | kMultishot);
    // The close of another process does not count.
    CHECK_EXITED(run_child([fd] { OK(close(fd)); }), 0);
    touch("a");
    CHECK_EQ(count(), 1);
    // A child's registration is its own and ends with it; the owner is the file's.
    CHECK_EXITED(run_child([fd] {
                     OK(notify(fd, DN_CREATE | DN_DELETE | kMultishot));
                     touch("b");
                     OK(unlink("b"));
                     CHECK_EQ(count(), 0);
                 }),
                 0);
    CHECK_EQ(count(), 3);
    OK(unlink("a"));
    CHECK_EQ(count(), 0);
}

TEST("dnotify_owner_may_be_another") {
    scratch();
    block(first_signal());
    const pid_t pid = OK(fork());
    if (pid == 0) _exit(take(first_signal(), 10'000) && last.si_code == kPollMsg ? 0 : 1);
    const int fd = OK(open(".", O_RDONLY));
    OK(fcntl(fd, F_SETSIG, first_signal()));
    OK(fcntl(fd, F_SETOWN, pid));
    OK(notify(fd, DN_CREATE | kMultishot));
    CHECK_EQ(fcntl(fd, F_GETOWN), pid);
    touch("a");
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
    touch("b");  // the owner is gone, and stays it
    CHECK_EQ(count(), 0);
    OK(notify(fd, DN_CREATE | kMultishot));
    touch("c");
    CHECK_EQ(count(), 0);
    OK(fcntl(fd, F_SETOWN, getpid()));
    touch("d");
    CHECK_EQ(count(), 1);
}

TEST("dnotify_by_a_thread_tells_its_process_while_it_lives") {
    scratch();
    static int fd;
    pthread_t thread;
    block(first_signal());
    const auto body = [](void*) -> void* {
        fd = watch(".", DN_CREATE | kMultishot);
        touch("a");
        return nullptr;
    };
    CHECK_EQ(pthread_create(&thread, nullptr, body, nullptr), 0);
    CHECK_EQ(pthread_join(thread, nullptr), 0);
    CHECK_EQ(count(), 1);
    struct f_owner_ex owner = {};
    OK(fcntl(fd, F_GETOWN_EX, &owner));
    CHECK_EQ(owner.type, F_OWNER_PID);
    sleep_ms(20);  // the join may be over before the thread is
    touch("b");
    CHECK_EQ(count(), 0);
}

TEST("dnotify_survives_execve") {
    scratch();
    block(first_signal());
    const int fd = watch(".", DN_CREATE | kMultishot);
    const pid_t pid = OK(fork());
    if (pid == 0) {
        OK(fcntl(fd, F_SETOWN, getppid()));
        OK(notify(fd, DN_DELETE | kMultishot));
        touch("a");
        execl("/bin/rm", "rm", "a", nullptr);
        _exit(3);
    }
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
    CHECK_EQ(count(), 2);  // the creation by the parent's, the removal by the child's
}

TEST("dnotify_beside_inotify") {
    scratch();
    OK(mkdir("d", 0755));
    const int inotify = OK(inotify_init1(IN_NONBLOCK));
    CHECK_EQ(OK(inotify_add_watch(inotify, "d", IN_CREATE | IN_DELETE_SELF | IN_ONESHOT)), 1);
    const int fd = watch("d", DN_CREATE);
    touch("d/a");  // ends both
    CHECK_EQ(count(), 1);
    alignas(8) char buffer[200];
    CHECK_EQ(read(inotify, buffer, sizeof buffer), 16 + 16 + 16);
    CHECK_EQ(OK(inotify_add_watch(inotify, "d", IN_DELETE_SELF)), 2);
    OK(notify(fd, kAll | kMultishot));
    OK(unlink("d/a"));
    OK(rmdir("d"));
    CHECK_EQ(count(), 1);
    CHECK_ERRNO(read(inotify, buffer, sizeof buffer), EAGAIN);  // it is open
    OK(close(fd));
    CHECK_EQ(read(inotify, buffer, sizeof buffer), 16 + 16);
    CHECK_EQ(reinterpret_cast<inotify_event*>(buffer)->mask, IN_DELETE_SELF);
}

TEST("dnotify_switch_in_proc") {
    char text[16];
    CHECK_GT(read_file("/proc/sys/fs/dir-notify-enable", text, sizeof text), 0);
    CHECK_STREQ(text, "1\n");
}
