// Advisory locks: fcntl record locks, OFD locks, flock, and what /proc shows of them.
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <string>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

int open_file(const char* name = "file") { return OK(open(name, O_RDWR | O_CREAT, 0644)); }

int lock(int fd, int command, short type, off_t start, off_t length, short whence = SEEK_SET) {
    struct flock wanted = {};
    wanted.l_type = type, wanted.l_whence = whence, wanted.l_start = start, wanted.l_len = length;
    return fcntl(fd, command, &wanted);
}

struct flock held(int fd, short type, off_t start, off_t length, int command = F_GETLK) {
    struct flock wanted = {};
    wanted.l_type = type, wanted.l_whence = SEEK_SET, wanted.l_start = start, wanted.l_len = length;
    OK(fcntl(fd, command, &wanted));
    return wanted;
}

// What another process sees.
template <typename Body>
void elsewhere(Body body) {
    CHECK_EXITED(run_child(body), 0);
}

// A child that holds what `take` takes until end().
template <typename Take>
struct Holder {
    int to_child[2], from_child[2];
    pid_t pid;
    explicit Holder(Take take) {
        OK(pipe(to_child));
        OK(pipe(from_child));
        pid = OK(fork());
        if (pid == 0) {
            close(to_child[1]);
            take();
            char byte = 1;
            OK(write(from_child[1], &byte, 1));
            (void)!read(to_child[0], &byte, 1);
            _exit(0);
        }
        close(to_child[0]);
        char byte;
        CHECK_EQ(read(from_child[0], &byte, 1), 1);
    }
    void end() {
        OK(kill(pid, SIGKILL));
        int status;
        OK(waitpid(pid, &status, 0));
        CHECK_SIGNALED(status, SIGKILL);
    }
};

std::string proc_text(const char* path) {
    static char text[65536];
    OK(read_file(path, text, sizeof(text)));
    return text;
}

void ignore_signal(int signal) {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    OK(sigaction(signal, &action, nullptr));
}

}  // namespace

TEST("adjacent_ranges_of_one_type_are_merged") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    OK(lock(fd, F_SETLK, F_WRLCK, 20, 10));
    OK(lock(fd, F_SETLK, F_WRLCK, 10, 10));
    elsewhere([] {
        struct flock found = held(open_file(), F_RDLCK, 15, 1);
        CHECK_EQ(found.l_type, F_WRLCK);
        CHECK_EQ(found.l_start, 0);
        CHECK_EQ(found.l_len, 30);
    });
}

TEST("unlock_in_the_middle_splits") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 100));
    OK(lock(fd, F_SETLK, F_UNLCK, 40, 20));
    elsewhere([] {
        int own = open_file();
        struct flock found = held(own, F_WRLCK, 0, 100);
        CHECK_EQ(found.l_start, 0);
        CHECK_EQ(found.l_len, 40);
        found = held(own, F_WRLCK, 50, 100);
        CHECK_EQ(found.l_start, 60);
        CHECK_EQ(found.l_len, 40);
        OK(lock(own, F_SETLK, F_WRLCK, 40, 20));
    });
}

TEST("downgrade_of_a_part") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 100));
    OK(lock(fd, F_SETLK, F_RDLCK, 0, 50));
    elsewhere([] {
        int own = open_file();
        OK(lock(own, F_SETLK, F_RDLCK, 0, 50));
        CHECK_ERRNO(lock(own, F_SETLK, F_RDLCK, 49, 2), EAGAIN);
        CHECK_ERRNO(lock(own, F_SETLK, F_WRLCK, 0, 1), EAGAIN);
    });
}

TEST("getlk_names_holder_and_range_to_end") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 7, 0));
    pid_t parent = getpid();
    elsewhere([parent] {
        struct flock found = held(open_file(), F_RDLCK, 0, 0);
        CHECK_EQ(found.l_type, F_WRLCK);
        CHECK_EQ(found.l_whence, SEEK_SET);
        CHECK_EQ(found.l_start, 7);
        CHECK_EQ(found.l_len, 0);
        CHECK_EQ(found.l_pid, parent);
    });
}

TEST("getlk_of_free_range_changes_only_the_type") {
    scratch();
    int fd = open_file();
    struct flock wanted = {};
    wanted.l_type = F_WRLCK, wanted.l_whence = SEEK_CUR, wanted.l_start = 3, wanted.l_len = 4, wanted.l_pid = 99;
    OK(fcntl(fd, F_GETLK, &wanted));
    CHECK_EQ(wanted.l_type, F_UNLCK);
    CHECK_EQ(wanted.l_whence, SEEK_CUR);
    CHECK_EQ(wanted.l_start, 3);
    CHECK_EQ(wanted.l_len, 4);
    CHECK_EQ(wanted.l_pid, 99);
}

TEST("own_lock_is_not_in_the_way") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    CHECK_EQ(held(fd, F_WRLCK, 0, 10).l_type, F_UNLCK);
    OK(lock(open_file(), F_SETLK, F_WRLCK, 0, 10));
}

TEST("record_lock_errors") {
    scratch();
    int fd = open_file();
    CHECK_ERRNO(lock(fd, F_SETLK, 5, 0, 1), EINVAL);
    CHECK_ERRNO(lock(fd, F_SETLK, F_RDLCK, 0, 1, 7), EINVAL);
    CHECK_ERRNO(lock(fd, F_SETLK, F_RDLCK, -1, 1), EINVAL);
    CHECK_ERRNO(lock(fd, F_SETLK, F_RDLCK, 5, -6), EINVAL);
    CHECK_ERRNO(lock(fd, F_GETLK, F_UNLCK, 0, 1), EINVAL);
    CHECK_ERRNO(fcntl(fd, F_SETLK, nullptr), EFAULT);
    CHECK_ERRNO(lock(-1, F_SETLK, F_RDLCK, 0, 1), EBADF);
    int reader = OK(open("file", O_RDONLY)), writer = OK(open("file", O_WRONLY));
    CHECK_ERRNO(lock(reader, F_SETLK, F_WRLCK, 0, 1), EBADF);
    CHECK_ERRNO(lock(writer, F_SETLK, F_RDLCK, 0, 1), EBADF);
    OK(lock(reader, F_SETLK, F_RDLCK, 0, 1));
    int path = OK(open("file", O_PATH));
    CHECK_ERRNO(lock(path, F_SETLK, F_RDLCK, 0, 1), EBADF);
}

TEST("offset_overflow_is_eoverflow") {
    scratch();
    int fd = open_file();
    OK(lseek(fd, 100, SEEK_SET));
    CHECK_ERRNO(lock(fd, F_SETLK, F_RDLCK, INT64_MAX, 1, SEEK_CUR), EOVERFLOW);
    CHECK_ERRNO(lock(fd, F_SETLK, F_RDLCK, INT64_MAX, 2), EOVERFLOW);
    OK(lock(fd, F_SETLK, F_RDLCK, INT64_MAX, 1));
}

TEST("negative_length_locks_before_the_start") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 50, -20));
    elsewhere([] {
        struct flock found = held(open_file(), F_RDLCK, 0, 0);
        CHECK_EQ(found.l_start, 30);
        CHECK_EQ(found.l_len, 20);
    });
}

TEST("whence_current_and_end") {
    scratch();
    int fd = open_file();
    OK(ftruncate(fd, 1000));
    OK(lseek(fd, 10, SEEK_SET));
    OK(lock(fd, F_SETLK, F_WRLCK, 5, 1, SEEK_CUR));
    OK(lock(fd, F_SETLK, F_WRLCK, -100, 1, SEEK_END));
    elsewhere([] {
        int own = open_file();
        CHECK_EQ(held(own, F_RDLCK, 0, 100).l_start, 15);
        CHECK_EQ(held(own, F_RDLCK, 100, 0).l_start, 900);
    });
}

TEST("closing_any_descriptor_releases_record_locks") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    close(open_file());
    elsewhere([] { OK(lock(open_file(), F_SETLK, F_WRLCK, 0, 10)); });
}

TEST("record_locks_are_not_inherited") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    elsewhere([fd] {
        CHECK_ERRNO(lock(fd, F_SETLK, F_WRLCK, 0, 10), EAGAIN);
        close(fd);
    });
    elsewhere([] { CHECK_ERRNO(lock(open_file(), F_SETLK, F_WRLCK, 0, 10), EAGAIN); });
}

TEST("record_locks_end_with_the_process") {
    scratch();
    open_file();
    elsewhere([] { OK(lock(open_file(), F_SETLK, F_WRLCK, 0, 10)); });
    OK(lock(open_file(), F_SETLK, F_WRLCK, 0, 10));
}

TEST("record_locks_survive_exec") {
    scratch();
    open_file();
    int ready[2], go[2];
    OK(pipe(ready));
    OK(pipe(go));
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(lock(open_file(), F_SETLK, F_WRLCK, 0, 10));
        dup2(go[0], 0);
        dup2(ready[1], 1);
        close(go[1]);
        execl("/bin/sh", "sh", "-c", "echo x; read line", nullptr);
        _exit(1);
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    struct flock found = held(open_file(), F_RDLCK, 0, 10);
    CHECK_EQ(found.l_type, F_WRLCK);
    CHECK_EQ(found.l_pid, pid);
    close(go[0]);
    close(go[1]);
    int status;
    OK(waitpid(pid, &status, 0));
}

TEST("setlkw_waits_until_free") {
    scratch();
    Holder holder([] { OK(lock(open_file(), F_SETLK, F_WRLCK, 0, 10)); });
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(lock(open_file(), F_SETLKW, F_WRLCK, 5, 10));
        _exit(7);
    }
    sleep_ms(50);
    int status;
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    holder.end();
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 7);
}

TEST("setlkw_is_interrupted_by_a_handler") {
    scratch();
    Holder holder([] { OK(lock(open_file(), F_SETLK, F_WRLCK, 0, 10)); });
    pid_t pid = OK(fork());
    if (pid == 0) {
        ignore_signal(SIGALRM);
        alarm(1);
        CHECK_ERRNO(lock(open_file(), F_SETLKW, F_WRLCK, 0, 10), EINTR);
        _exit(0);
    }
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
    holder.end();
}

TEST("two_processes_in_a_circle_are_edeadlk") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    int ready[2];
    OK(pipe(ready));
    pid_t pid = OK(fork());
    if (pid == 0) {
        int own = open_file();
        OK(lock(own, F_SETLK, F_WRLCK, 1, 1));
        OK(write(ready[1], "x", 1));
        OK(lock(own, F_SETLKW, F_WRLCK, 0, 1));
        _exit(3);
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    sleep_ms(100);
    CHECK_ERRNO(lock(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 1));
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 3);
}

TEST("circle_over_three_processes_and_two_files_is_edeadlk") {
    scratch();
    int fd = open_file("a");
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    int ready[2];
    OK(pipe(ready));
    pid_t second = OK(fork());
    if (second == 0) {
        int b = open_file("b");
        OK(lock(b, F_SETLK, F_WRLCK, 0, 1));
        OK(write(ready[1], "x", 1));
        sleep_ms(100);
        OK(lock(b, F_SETLKW, F_WRLCK, 1, 1));  // of the third
        _exit(0);
    }
    pid_t third = OK(fork());
    if (third == 0) {
        int b = open_file("b");
        OK(lock(b, F_SETLK, F_WRLCK, 1, 1));
        OK(write(ready[1], "x", 1));
        sleep_ms(100);
        OK(lock(open_file("a"), F_SETLKW, F_WRLCK, 0, 1));  // of the first
        _exit(0);
    }
    char bytes[2];
    CHECK_EQ(read(ready[0], bytes, 1), 1);
    CHECK_EQ(read(ready[0], bytes, 1), 1);
    sleep_ms(300);
    CHECK_ERRNO(lock(open_file("b"), F_SETLKW, F_WRLCK, 0, 1), EDEADLK);
    close(fd);
    int status;
    OK(waitpid(third, &status, 0));
    CHECK_EXITED(status, 0);
    OK(waitpid(second, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("ofd_locks_belong_to_the_description") {
    scratch();
    int first = open_file(), second = open_file();
    OK(lock(first, F_OFD_SETLK, F_WRLCK, 0, 10));
    CHECK_ERRNO(lock(second, F_OFD_SETLK, F_WRLCK, 0, 10), EAGAIN);
    struct flock found = held(second, F_WRLCK, 0, 10, F_OFD_GETLK);
    CHECK_EQ(found.l_type, F_WRLCK);
    CHECK_EQ(found.l_pid, -1);
    int copy = OK(dup(first));
    OK(lock(copy, F_OFD_SETLK, F_WRLCK, 5, 10));
    close(first);
    CHECK_ERRNO(lock(second, F_OFD_SETLK, F_WRLCK, 0, 10), EAGAIN);
    close(copy);
    OK(lock(second, F_OFD_SETLK, F_WRLCK, 0, 10));
}

TEST("ofd_locks_are_inherited_by_fork") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    elsewhere([fd] {
        OK(lock(fd, F_OFD_SETLK, F_RDLCK, 0, 10));
        CHECK_ERRNO(lock(open_file(), F_OFD_SETLK, F_WRLCK, 0, 10), EAGAIN);
    });
}

TEST("ofd_and_record_locks_conflict_in_one_process") {
    scratch();
    int first = open_file(), second = open_file();
    OK(lock(first, F_OFD_SETLK, F_WRLCK, 0, 10));
    CHECK_ERRNO(lock(second, F_SETLK, F_WRLCK, 0, 10), EAGAIN);
    CHECK_EQ(held(second, F_WRLCK, 0, 10).l_pid, -1);
    OK(lock(second, F_SETLK, F_WRLCK, 20, 10));
    CHECK_ERRNO(lock(first, F_OFD_SETLK, F_WRLCK, 20, 10), EAGAIN);
}

TEST("ofd_lock_wants_pid_zero") {
    scratch();
    int fd = open_file();
    struct flock wanted = {};
    wanted.l_type = F_WRLCK, wanted.l_pid = 1;
    CHECK_ERRNO(fcntl(fd, F_OFD_SETLK, &wanted), EINVAL);
    CHECK_ERRNO(fcntl(fd, F_OFD_GETLK, &wanted), EINVAL);
}

TEST("closing_another_descriptor_keeps_ofd_locks") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    close(open_file());
    elsewhere([] { CHECK_ERRNO(lock(open_file(), F_SETLK, F_RDLCK, 0, 10), EAGAIN); });
}

TEST("flock_belongs_to_the_description") {
    scratch();
    int first = open_file(), second = open_file();
    OK(flock(first, LOCK_EX));
    CHECK_ERRNO(flock(second, LOCK_SH | LOCK_NB), EAGAIN);
    int copy = OK(dup(first));
    OK(flock(copy, LOCK_UN));
    OK(flock(second, LOCK_EX | LOCK_NB));
}

TEST("flock_survives_in_a_forked_child") {
    scratch();
    int fd = open_file();
    OK(flock(fd, LOCK_EX));
    int hold[2];
    OK(pipe(hold));
    pid_t pid = OK(fork());
    if (pid == 0) {
        close(hold[1]);
        char byte;
        (void)!read(hold[0], &byte, 1);
        _exit(0);
    }
    close(fd);
    int other = open_file();
    CHECK_ERRNO(flock(other, LOCK_EX | LOCK_NB), EAGAIN);
    close(hold[1]);
    int status;
    OK(waitpid(pid, &status, 0));
    OK(flock(other, LOCK_EX | LOCK_NB));
}

TEST("failed_flock_conversion_loses_the_lock") {
    scratch();
    int first = open_file(), second = open_file(), third = open_file();
    OK(flock(first, LOCK_SH));
    OK(flock(second, LOCK_SH));
    CHECK_ERRNO(flock(first, LOCK_EX | LOCK_NB), EAGAIN);
    OK(flock(second, LOCK_UN));
    OK(flock(third, LOCK_EX | LOCK_NB));
}

TEST("flock_waits_and_is_interrupted") {
    scratch();
    Holder holder([] { OK(flock(open_file(), LOCK_EX)); });
    ignore_signal(SIGALRM);
    alarm(1);
    CHECK_ERRNO(flock(open_file(), LOCK_EX), EINTR);
    holder.end();
    OK(flock(open_file(), LOCK_EX));
}

TEST("flock_and_record_locks_do_not_see_each_other") {
    scratch();
    int first = open_file(), second = open_file();
    OK(flock(first, LOCK_EX));
    OK(lock(second, F_SETLK, F_WRLCK, 0, 0));
    elsewhere([] { CHECK_ERRNO(lock(open_file(), F_SETLK, F_WRLCK, 0, 0), EAGAIN); });
}

TEST("flock_errors") {
    scratch();
    int fd = open_file();
    CHECK_ERRNO(flock(fd, 0), EINVAL);
    CHECK_ERRNO(flock(fd, LOCK_SH | LOCK_EX), EINVAL);
    CHECK_ERRNO(flock(-1, LOCK_SH), EBADF);
    CHECK_ERRNO(flock(OK(open("file", O_PATH)), LOCK_SH), EBADF);
    OK(flock(OK(open(".", O_RDONLY | O_DIRECTORY)), LOCK_EX));
}

TEST("fdinfo_shows_locks") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 3, 4));
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    const std::string text = proc_text(path);
    CHECK(text.find("lock:\t1: POSIX  ADVISORY  WRITE ") != std::string::npos);
    CHECK(text.find(" 3 6\n") != std::string::npos);
}

TEST("proc_locks_shows_kinds_and_ranges") {
    scratch();
    int posix = open_file("p"), ofd = open_file("o"), whole = open_file("f");
    OK(lock(posix, F_SETLK, F_RDLCK, 11, 0));
    OK(lock(ofd, F_OFD_SETLK, F_WRLCK, 5, 5));
    OK(flock(whole, LOCK_SH));
    struct stat info;
    const std::string text = proc_text("/proc/locks");
    const auto shown = [&](int fd, const char* start, const char* end) {
        OK(fstat(fd, &info));
        const size_t at = text.find(":" + std::to_string(info.st_ino) + end);
        CHECK(at != std::string::npos);
        const size_t line = text.rfind('\n', at) == std::string::npos ? 0 : text.rfind('\n', at) + 1;
        CHECK(text.substr(line, at - line).find(start) != std::string::npos);
    };
    shown(posix, ("POSIX  ADVISORY  READ " + std::to_string(getpid()) + " ").c_str(), " 11 EOF\n");
    shown(ofd, "OFDLCK ADVISORY  WRITE -1 ", " 5 9\n");
    shown(whole, ("FLOCK  ADVISORY  READ " + std::to_string(getpid()) + " ").c_str(), " 0 EOF\n");
}

TEST("proc_locks_shows_who_waits") {
    scratch();
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(lock(open_file(), F_SETLKW, F_WRLCK, 0, 10));
        _exit(0);
    }
    const std::string wanted = "-> POSIX  ADVISORY  WRITE " + std::to_string(pid) + " ";
    bool seen = false;
    for (int i = 0; i < 100 && !seen; ++i) {
        sleep_ms(20);
        seen = proc_text("/proc/locks").find(wanted) != std::string::npos;
    }
    CHECK(seen);
    close(fd);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}
