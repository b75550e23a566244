// POSIX message queues.
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ctime>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

constexpr const char* kName = "/guest_mqueue";

// A queue that has a name no more.
mqd_t new_queue(long messages = 4, long size = 32, int flags = O_RDWR) {
    mq_attr attributes{};
    attributes.mq_maxmsg = messages;
    attributes.mq_msgsize = size;
    mq_unlink(kName);
    mqd_t queue = OK(mq_open(kName, flags | O_CREAT | O_EXCL, 0600, &attributes));
    OK(mq_unlink(kName));
    return queue;
}
int send(mqd_t queue, const char* text, unsigned priority = 0) { return mq_send(queue, text, strlen(text), priority); }
const char* take(mqd_t queue, unsigned* priority = nullptr) {
    static char text[8193];
    memset(text, 0, sizeof text);
    return mq_receive(queue, text, sizeof text - 1, priority) < 0 ? "nothing" : text;
}
timespec in_ms(long ms) {
    timespec time{};
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += ms * 1'000'000;
    time.tv_sec += time.tv_nsec / 1'000'000'000;
    time.tv_nsec %= 1'000'000'000;
    return time;
}
volatile sig_atomic_t got_value, got_code, got_pid;
void handler(int, siginfo_t* info, void*) {
    got_value = info->si_value.sival_int;
    got_code = info->si_code;
    got_pid = info->si_pid;
}
void catch_signal(int signal_number, int flags = 0) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    OK(sigaction(signal_number, &action, nullptr));
}

}  // namespace

TEST("highest_priority_first_then_oldest") {
    mqd_t queue = new_queue();
    OK(send(queue, "low", 1));
    OK(send(queue, "high", 9));
    OK(send(queue, "low2", 1));
    unsigned priority = 0;
    CHECK_STREQ(take(queue, &priority), "high");
    CHECK_EQ(priority, 9);
    CHECK_STREQ(take(queue, &priority), "low");
    CHECK_EQ(priority, 1);
    CHECK_STREQ(take(queue), "low2");
}

TEST("open_errors") {
    mq_unlink(kName);
    CHECK_ERRNO(mq_open(kName, O_RDWR), ENOENT);
    CHECK_EQ(syscall(SYS_mq_open, "a/b", O_RDWR | O_CREAT, 0600, nullptr), -1);
    CHECK_EQ(errno, EACCES);
    CHECK_ERRNO(syscall(SYS_mq_open, "", O_RDWR | O_CREAT, 0600, nullptr), ENOENT);
    CHECK_ERRNO(syscall(SYS_mq_open, ".", O_RDWR | O_CREAT, 0600, nullptr), EACCES);
    CHECK_ERRNO(syscall(SYS_mq_open, 8, O_RDWR | O_CREAT, 0600, nullptr), EFAULT);
    CHECK_ERRNO(syscall(SYS_mq_open, "a", O_RDWR | O_CREAT, 0600, 8), EFAULT);
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    CHECK_ERRNO(syscall(SYS_mq_open, name, O_RDWR | O_CREAT, 0600, nullptr), ENAMETOOLONG);
    mqd_t queue = OK(mq_open(kName, O_RDWR | O_CREAT, 0600, nullptr));
    CHECK_ERRNO(mq_open(kName, O_RDWR | O_CREAT | O_EXCL, 0600, nullptr), EEXIST);
    OK(mq_unlink(kName));
    CHECK_ERRNO(mq_unlink(kName), ENOENT);
    OK(mq_close(queue));
}

TEST("attributes_must_be_in_the_limits") {
    mq_attr attributes{};
    constexpr long kBad[][2] = {{0, 8}, {8, 0}, {-1, 8}, {11, 8}, {8, 8193}};
    for (auto [messages, size] : kBad) {
        attributes.mq_maxmsg = messages;
        attributes.mq_msgsize = size;
        CHECK_ERRNO(mq_open(kName, O_RDWR | O_CREAT, 0600, &attributes), EINVAL);
    }
}

TEST("default_attributes") {
    mqd_t queue = OK(mq_open(kName, O_RDWR | O_CREAT, 0600, nullptr));
    OK(mq_unlink(kName));
    mq_attr attributes{};
    OK(mq_getattr(queue, &attributes));
    CHECK_EQ(attributes.mq_maxmsg, 10);
    CHECK_EQ(attributes.mq_msgsize, 8192);
    CHECK_EQ(attributes.mq_curmsgs, 0);
    CHECK_EQ(attributes.mq_flags, 0);
}

TEST("attributes_change_only_nonblock") {
    mqd_t queue = new_queue(3, 16);
    OK(send(queue, "x"));
    mq_attr wanted{}, old{};
    wanted.mq_flags = O_NONBLOCK;
    wanted.mq_maxmsg = 77;
    OK(mq_setattr(queue, &wanted, &old));
    CHECK_EQ(old.mq_flags, 0);
    CHECK_EQ(old.mq_curmsgs, 1);
    OK(mq_getattr(queue, &old));
    CHECK_EQ(old.mq_flags, O_NONBLOCK);
    CHECK_EQ(old.mq_maxmsg, 3);
    CHECK_EQ(OK(fcntl(queue, F_GETFL)) & O_NONBLOCK, O_NONBLOCK);
    wanted.mq_flags = O_APPEND;
    CHECK_ERRNO(mq_setattr(queue, &wanted, nullptr), EINVAL);
}

TEST("send_and_receive_errors") {
    mqd_t queue = new_queue(2, 4, O_RDWR | O_NONBLOCK);
    char text[8];
    CHECK_ERRNO(mq_send(queue, "12345", 5, 0), EMSGSIZE);
    CHECK_ERRNO(mq_send(queue, "1", 1, 32768), EINVAL);
    CHECK_ERRNO(mq_receive(queue, text, 3, nullptr), EMSGSIZE);
    CHECK_ERRNO(mq_receive(queue, text, 8, nullptr), EAGAIN);
    OK(mq_send(queue, "1", 1, 32767));
    OK(mq_send(queue, "", 0, 0));
    CHECK_ERRNO(mq_send(queue, "1", 1, 0), EAGAIN);
    CHECK_EQ(OK(mq_receive(queue, text, 8, nullptr)), 1);
    CHECK_EQ(OK(mq_receive(queue, text, 8, nullptr)), 0);
    CHECK_ERRNO(mq_send(queue, reinterpret_cast<char*>(8), 1, 0), EFAULT);
    CHECK_ERRNO(mq_send(0, "1", 1, 0), EBADF);
}

TEST("direction_of_the_descriptor") {
    mq_unlink(kName);
    mqd_t reader = OK(mq_open(kName, O_RDONLY | O_CREAT | O_NONBLOCK, 0600, nullptr));
    mqd_t writer = OK(mq_open(kName, O_WRONLY));
    OK(mq_unlink(kName));
    char text[8192];
    CHECK_ERRNO(mq_send(reader, "x", 1, 0), EBADF);
    CHECK_ERRNO(mq_receive(writer, text, sizeof text, nullptr), EBADF);
    OK(mq_send(writer, "x", 1, 0));
    CHECK_EQ(OK(mq_receive(reader, text, sizeof text, nullptr)), 1);
}

TEST("timeouts_are_absolute") {
    mqd_t queue = new_queue(1, 8);
    char text[8];
    timespec soon = in_ms(30), past{1, 0}, bad{1, -1};
    CHECK_ERRNO(mq_timedreceive(queue, text, 8, nullptr, &soon), ETIMEDOUT);
    CHECK_ERRNO(mq_timedreceive(queue, text, 8, nullptr, &past), ETIMEDOUT);
    CHECK_ERRNO(mq_timedreceive(queue, text, 8, nullptr, &bad), EINVAL);
    OK(mq_timedsend(queue, "x", 1, 0, &past));
    CHECK_ERRNO(mq_timedsend(queue, "x", 1, 0, &past), ETIMEDOUT);
}

TEST("receive_waits_for_a_message") {
    mqd_t queue = new_queue();
    pid_t pid = OK(fork());
    if (pid == 0) {
        sleep_ms(30);
        _exit(send(queue, "late", 3) == 0 ? 0 : 1);
    }
    CHECK_STREQ(take(queue), "late");
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("send_waits_for_room") {
    mqd_t queue = new_queue(1, 8);
    OK(send(queue, "a"));
    pid_t pid = OK(fork());
    if (pid == 0) _exit(send(queue, "b") == 0 ? 0 : 1);
    sleep_ms(30);
    CHECK_STREQ(take(queue), "a");
    CHECK_STREQ(take(queue), "b");
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("signal_interrupts_or_restarts") {
    mqd_t queue = new_queue();
    for (int flags : {0, SA_RESTART}) {
        pid_t pid = OK(fork());
        if (pid == 0) {
            catch_signal(SIGUSR1, flags);
            const char* text = take(queue);
            _exit(flags ? strcmp(text, "end") != 0 : errno != EINTR);
        }
        sleep_ms(60);
        OK(kill(pid, SIGUSR1));
        sleep_ms(30);
        if (flags) OK(send(queue, "end"));
        int status;
        OK(waitpid(pid, &status, 0));
        CHECK_EXITED(status, 0);
    }
}

TEST("poll_tells_room_and_messages") {
    mqd_t queue = new_queue(1, 8);
    pollfd one{queue, POLLIN | POLLOUT, 0};
    CHECK_EQ(poll(&one, 1, 0), 1);
    CHECK_EQ(one.revents, POLLOUT);
    OK(send(queue, "x"));
    CHECK_EQ(poll(&one, 1, 0), 1);
    CHECK_EQ(one.revents, POLLIN);
}

TEST("notification_by_signal_once") {
    mqd_t queue = new_queue();
    catch_signal(SIGUSR1);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    event.sigev_value.sival_int = 77;
    OK(mq_notify(queue, &event));
    CHECK_ERRNO(mq_notify(queue, &event), EBUSY);
    OK(send(queue, "a"));
    CHECK_EQ(got_value, 77);
    CHECK_EQ(got_code, SI_MESGQ);
    CHECK_EQ(got_pid, getpid());
    got_value = 0;
    take(queue);
    OK(send(queue, "b"));
    CHECK_EQ(got_value, 0);
    OK(mq_notify(queue, &event));
}

TEST("notification_only_for_an_empty_queue") {
    mqd_t queue = new_queue();
    catch_signal(SIGUSR1);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    event.sigev_value.sival_int = 5;
    OK(send(queue, "a"));
    OK(mq_notify(queue, &event));
    OK(send(queue, "b"));
    CHECK_EQ(got_value, 0);
    take(queue);
    take(queue);
    OK(send(queue, "c"));
    CHECK_EQ(got_value, 5);
}

TEST("notification_errors_and_removal") {
    mqd_t queue = new_queue();
    sigevent event{};
    event.sigev_notify = 99;
    CHECK_ERRNO(mq_notify(queue, &event), EINVAL);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = 65;
    CHECK_ERRNO(mq_notify(queue, &event), EINVAL);
    event.sigev_notify = SIGEV_NONE;
    CHECK_ERRNO(mq_notify(0, &event), EBADF);
    OK(mq_notify(queue, &event));
    CHECK_EXITED(run_child([&] { CHECK_ERRNO(mq_notify(queue, &event), EBUSY); }), 0);
    OK(mq_notify(queue, nullptr));
    OK(mq_notify(queue, &event));
    int other = OK(dup(queue));
    OK(close(other));
    OK(mq_notify(queue, &event));
}

TEST("notification_by_a_netlink_socket") {
    mqd_t queue = new_queue();
    const int socket_fd = OK(socket(AF_NETLINK, SOCK_RAW, 0));
    char cookie[32], told[64];
    memset(cookie, 'c', sizeof cookie);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_signo = socket_fd;
    event.sigev_value.sival_ptr = cookie;
    OK(syscall(SYS_mq_notify, queue, &event));
    CHECK_ERRNO(syscall(SYS_mq_notify, queue, &event), EBUSY);
    CHECK_ERRNO(recv(socket_fd, told, sizeof told, MSG_DONTWAIT), EAGAIN);
    OK(send(queue, "a"));
    CHECK_EQ(recv(socket_fd, told, sizeof told, MSG_DONTWAIT), 32);
    CHECK_EQ(memcmp(told, cookie, 31), 0);
    CHECK_EQ(told[31], 1);
    // Once; and whoever gives it up is told, too.
    take(queue);
    OK(send(queue, "b"));
    CHECK_ERRNO(recv(socket_fd, told, sizeof told, MSG_DONTWAIT), EAGAIN);
    OK(syscall(SYS_mq_notify, queue, &event));
    OK(syscall(SYS_mq_notify, queue, nullptr));
    CHECK_EQ(recv(socket_fd, told, sizeof told, MSG_DONTWAIT), 32);
    CHECK_EQ(told[31], 2);
}

TEST("notification_by_a_netlink_socket_errors") {
    mqd_t queue = new_queue();
    char cookie[32] = {};
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_value.sival_ptr = cookie;
    event.sigev_signo = 12345;
    CHECK_ERRNO(syscall(SYS_mq_notify, queue, &event), EBADF);
    event.sigev_signo = OK(open("/dev/null", O_RDONLY));
    CHECK_ERRNO(syscall(SYS_mq_notify, queue, &event), ENOTSOCK);
    event.sigev_signo = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK_ERRNO(syscall(SYS_mq_notify, queue, &event), EINVAL);
    event.sigev_signo = OK(socket(AF_NETLINK, SOCK_RAW, 0));
    event.sigev_value.sival_ptr = reinterpret_cast<void*>(8);
    CHECK_ERRNO(syscall(SYS_mq_notify, queue, &event), EFAULT);
}

TEST("notification_by_a_thread") {
    static int ends[2];
    OK(pipe(ends));
    mqd_t queue = new_queue();
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_value.sival_int = 9;
    event.sigev_notify_function = [](sigval value) { OK(write(ends[1], &value.sival_int, sizeof(int))); };
    OK(mq_notify(queue, &event));
    OK(send(queue, "a"));
    int got = 0;
    CHECK_EQ(read(ends[0], &got, sizeof got), static_cast<ssize_t>(sizeof got));
    CHECK_EQ(got, 9);
}

TEST("notification_ends_with_its_process") {
    mqd_t queue = new_queue();
    sigevent event{};
    event.sigev_notify = SIGEV_NONE;
    CHECK_EXITED(run_child([&] { OK(mq_notify(queue, &event)); }), 0);
    OK(mq_notify(queue, &event));
}

TEST("descriptor_closes_at_exec_and_survives_fork") {
    mqd_t queue = new_queue();
    CHECK_EQ(OK(fcntl(queue, F_GETFD)), FD_CLOEXEC);
    CHECK_EXITED(run_child([&] { OK(send(queue, "from child")); }), 0);
    CHECK_STREQ(take(queue), "from child");
}

TEST("permissions_of_others") {
    mq_unlink(kName);
    OK(mq_open(kName, O_RDWR | O_CREAT, 0640, nullptr));
    CHECK_EXITED(run_child([] {
                     OK(setgid(1000));
                     OK(setuid(1000));
                     CHECK_ERRNO(mq_open(kName, O_RDONLY), EACCES);
                     CHECK_ERRNO(syscall(SYS_mq_unlink, kName + 1), EPERM);
                     mqd_t own = OK(mq_open("/guest_own", O_RDWR | O_CREAT, 0600, nullptr));
                     OK(send(own, "x"));
                     OK(mq_unlink("/guest_own"));
                 }),
                 0);
    OK(mq_unlink(kName));
}

TEST("umask_is_applied") {
    umask(027);
    mq_unlink(kName);
    mqd_t queue = OK(mq_open(kName, O_RDWR | O_CREAT, 0666, nullptr));
    struct stat status;
    OK(fstat(queue, &status));
    CHECK_EQ(status.st_mode, S_IFREG | 0640);
    CHECK_EQ(status.st_size, 80);
    OK(mq_unlink(kName));
}

TEST("memory_limit_of_the_user") {
    rlimit limit{100000, 100000};
    OK(setrlimit(RLIMIT_MSGQUEUE, &limit));
    CHECK_EXITED(run_child([] {
                     OK(setgid(2000));
                     OK(setuid(2000));
                     mqd_t first = OK(mq_open("/guest_one", O_RDWR | O_CREAT, 0600, nullptr));
                     OK(mq_unlink("/guest_one"));
                     CHECK_ERRNO(mq_open("/guest_two", O_RDWR | O_CREAT, 0600, nullptr), EMFILE);
                     OK(mq_close(first));
                     OK(mq_open("/guest_two", O_RDWR | O_CREAT, 0600, nullptr));
                     OK(mq_unlink("/guest_two"));
                 }),
                 0);
}

TEST("reading_the_file_tells_the_state") {
    mqd_t queue = new_queue();
    OK(send(queue, "12345"));
    char text[100] = {};
    OK(read(queue, text, sizeof text - 1));
    CHECK_STREQ(text, "QSIZE:5          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n");
    CHECK_ERRNO(write(queue, "x", 1), EINVAL);
}

TEST("limits_in_proc") {
    char text[64];
    CHECK_GT(read_file("/proc/sys/fs/mqueue/msg_max", text, sizeof text), 0);
    CHECK_STREQ(text, "10\n");
    CHECK_GT(read_file("/proc/sys/fs/mqueue/msgsize_max", text, sizeof text), 0);
    CHECK_STREQ(text, "8192\n");
    CHECK_GT(read_file("/proc/sys/fs/mqueue/queues_max", text, sizeof text), 0);
    CHECK_STREQ(text, "256\n");
}

TEST("queue_shows_in_its_file_system") {
    mq_unlink(kName);
    if (access("/dev/mqueue", F_OK) != 0) SKIP("/dev/mqueue is not mounted");
    mqd_t queue = OK(mq_open(kName, O_RDWR | O_CREAT, 0600, nullptr));
    OK(send(queue, "123"));
    char text[100];
    CHECK_GT(read_file("/dev/mqueue/guest_mqueue", text, sizeof text), 0);
    CHECK_EQ(strncmp(text, "QSIZE:3 ", 8), 0);
    mqd_t other = OK(open("/dev/mqueue/guest_mqueue", O_RDWR));
    CHECK_STREQ(take(other), "123");
    OK(unlink("/dev/mqueue/guest_mqueue"));
    CHECK_ERRNO(mq_open(kName, O_RDWR), ENOENT);
    OK(close(OK(open("/dev/mqueue/made", O_RDWR | O_CREAT, 0600))));
    OK(mq_open("/made", O_RDONLY));
    OK(mq_unlink("/made"));
    CHECK_ERRNO(access("/dev/mqueue/made", F_OK), ENOENT);
}
