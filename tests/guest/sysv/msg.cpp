// System V message queues.
#include "tests/guest/sysv/sysv_test.hpp"

using namespace guest;

namespace {

constexpr key_t kKey = 0x5eed03;
constexpr int kCopy = 040000;

struct Message {
    long type;
    char text[9000];
};

int new_queue() { return OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600)); }
int send(int id, long type, const char* text, int flags = 0) {
    static Message message;
    message.type = type;
    strcpy(message.text, text);
    return msgsnd(id, &message, strlen(text) + 1, flags);
}
// The text of what msgrcv() gave.
const char* take(int id, long type, int flags = IPC_NOWAIT) {
    static Message message;
    ssize_t size = msgrcv(id, &message, sizeof message.text, type, flags);
    return size < 0 ? "nothing" : message.text;
}
msqid_ds status_of(int id) {
    msqid_ds status{};
    OK(msgctl(id, IPC_STAT, &status));
    return status;
}

}  // namespace

TEST("msg_first_in_first_out") {
    int id = new_queue();
    OK(send(id, 1, "a"));
    OK(send(id, 2, "b"));
    CHECK_EQ(status_of(id).msg_qnum, 2);
    CHECK_EQ(status_of(id).__msg_cbytes, 4);
    CHECK_STREQ(take(id, 0), "a");
    CHECK_STREQ(take(id, 0), "b");
    CHECK_ERRNO(msgrcv(id, nullptr, 0, 0, IPC_NOWAIT), ENOMSG);
}

TEST("msg_by_type") {
    int id = new_queue();
    OK(send(id, 3, "three"));
    OK(send(id, 1, "one"));
    OK(send(id, 2, "two"));
    OK(send(id, 1, "one again"));
    CHECK_STREQ(take(id, 2), "two");
    CHECK_STREQ(take(id, -2), "one");
    CHECK_STREQ(take(id, 9), "nothing");
    CHECK_STREQ(take(id, 1, MSG_EXCEPT | IPC_NOWAIT), "three");
    CHECK_STREQ(take(id, -0x7fffffffffffffff - 1), "one again");
}

TEST("msg_lowest_type_first_with_negative_type") {
    int id = new_queue();
    OK(send(id, 5, "five"));
    OK(send(id, 3, "three"));
    OK(send(id, 4, "four"));
    CHECK_STREQ(take(id, -4), "three");
    CHECK_STREQ(take(id, -4), "four");
    CHECK_STREQ(take(id, -4), "nothing");
    CHECK_STREQ(take(id, -5), "five");
}

TEST("msg_too_small_buffer") {
    int id = new_queue();
    Message small{};
    OK(send(id, 1, "123456789"));
    CHECK_ERRNO(msgrcv(id, &small, 4, 0, IPC_NOWAIT), E2BIG);
    CHECK_EQ(status_of(id).msg_qnum, 1);
    CHECK_EQ(OK(msgrcv(id, &small, 4, 0, MSG_NOERROR)), 4);
    CHECK_EQ(memcmp(small.text, "1234\0", 5), 0);
    CHECK_EQ(status_of(id).msg_qnum, 0);
}

TEST("msg_copy_leaves_the_message") {
    int id = new_queue();
    OK(send(id, 1, "first"));
    OK(send(id, 2, "second"));
    CHECK_STREQ(take(id, 1, kCopy | IPC_NOWAIT), "second");
    CHECK_STREQ(take(id, 0, kCopy | IPC_NOWAIT), "first");
    CHECK_STREQ(take(id, 2, kCopy | IPC_NOWAIT), "nothing");
    CHECK_EQ(errno, ENOMSG);
    CHECK_EQ(status_of(id).msg_qnum, 2);
    Message message;
    CHECK_ERRNO(msgrcv(id, &message, 10, 0, kCopy), EINVAL);
    CHECK_ERRNO(msgrcv(id, &message, 10, 0, kCopy | IPC_NOWAIT | MSG_EXCEPT), EINVAL);
}

TEST("msg_send_errors") {
    int id = new_queue();
    Message message{};
    CHECK_ERRNO(msgsnd(id, &message, 1, 0), EINVAL);
    message.type = -1;
    CHECK_ERRNO(msgsnd(id, &message, 1, 0), EINVAL);
    message.type = 1;
    CHECK_ERRNO(msgsnd(id, &message, 8193, 0), EINVAL);
    CHECK_ERRNO(msgsnd(-1, &message, 1, 0), EINVAL);
    CHECK_ERRNO(msgsnd(id, reinterpret_cast<void*>(8), 1, 0), EFAULT);
    OK(msgsnd(id, &message, 8192, 0));
    OK(msgsnd(id, &message, 0, 0));
}

TEST("msg_full_queue") {
    int id = new_queue();
    static Message message{1, {}};
    OK(msgsnd(id, &message, 8192, 0));
    OK(msgsnd(id, &message, 8192, 0));
    CHECK_ERRNO(msgsnd(id, &message, 1, IPC_NOWAIT), EAGAIN);
    pid_t pid = OK(fork());
    if (pid == 0) _exit(send(id, 7, "late") == 0 ? 0 : 1);
    wait_until_blocked(pid);
    OK(msgrcv(id, &message, 8192, 0, 0));
    CHECK_EXITED(finish(pid), 0);
    CHECK_STREQ(take(id, 7), "late");
}

TEST("msg_receive_waits") {
    int id = new_queue();
    pid_t pid = OK(fork());
    if (pid == 0) _exit(strcmp(take(id, 5, 0), "five") == 0 ? 0 : 1);
    wait_until_blocked(pid);
    OK(send(id, 4, "four"));
    sleep_ms(20);
    OK(send(id, 5, "five"));
    CHECK_EXITED(finish(pid), 0);
    CHECK_EQ(status_of(id).msg_qnum, 1);
    CHECK_EQ(status_of(id).msg_lrpid, pid);
    CHECK_EQ(status_of(id).msg_lspid, getpid());
}

TEST("msg_removal_ends_waits") {
    int id = new_queue();
    pid_t pid = OK(fork());
    if (pid == 0) {
        take(id, 0, 0);
        _exit(errno == EIDRM ? 0 : 1);
    }
    wait_until_blocked(pid);
    OK(msgctl(id, IPC_RMID, nullptr));
    CHECK_EXITED(finish(pid), 0);
    CHECK_ERRNO(send(id, 1, "x"), EINVAL);
}

TEST("msg_signal_interrupts") {
    int id = new_queue();
    pid_t pid = OK(fork());
    if (pid == 0) {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, nullptr);
        take(id, 0, 0);
        _exit(errno == EINTR ? 0 : 1);
    }
    wait_until_blocked(pid);
    OK(kill(pid, SIGUSR1));
    CHECK_EXITED(finish(pid), 0);
}

TEST("msg_permissions_of_others") {
    int secret = new_queue(), write_only = OK(msgget(IPC_PRIVATE, IPC_CREAT | 0602));
    CHECK_EXITED(run_child([=] {
                     become_user(1000);
                     CHECK_ERRNO(send(secret, 1, "x"), EACCES);
                     OK(send(write_only, 1, "x"));
                     take(write_only, 0);
                     CHECK_EQ(errno, EACCES);
                     msqid_ds status;
                     CHECK_ERRNO(msgctl(write_only, IPC_STAT, &status), EACCES);
                     CHECK_ERRNO(msgctl(write_only, IPC_RMID, nullptr), EPERM);
                 }),
                 0);
}

TEST("msg_set_size_of_queue") {
    int id = new_queue();
    msqid_ds status = status_of(id);
    CHECK_EQ(status.msg_qbytes, 16384);
    status.msg_qbytes = 16385;
    CHECK_ERRNO(msgctl(id, IPC_SET, &status), EPERM);
    status.msg_qbytes = 2;
    OK(msgctl(id, IPC_SET, &status));
    OK(send(id, 1, "a"));
    CHECK_ERRNO(send(id, 1, "a", IPC_NOWAIT), EAGAIN);
}

TEST("msg_keys") {
    CHECK_ERRNO(msgget(kKey, 0600), ENOENT);
    int id = OK(msgget(kKey, IPC_CREAT | 0600));
    CHECK_EQ(OK(msgget(kKey, IPC_CREAT | 0600)), id);
    CHECK_ERRNO(msgget(kKey, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
    OK(msgctl(id, IPC_RMID, nullptr));
    CHECK_ERRNO(msgget(kKey, 0), ENOENT);
}

TEST("msg_limits_and_proc") {
    msginfo limits{};
    OK(msgctl(0, IPC_INFO, reinterpret_cast<msqid_ds*>(&limits)));
    CHECK_EQ(limits.msgmax, 8192);
    CHECK_EQ(limits.msgmnb, 16384);
    CHECK_EQ(limits.msgmni, 32000);
    msginfo before{}, after{};
    OK(msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&before)));
    int id = new_queue();
    OK(send(id, 1, "abc"));
    OK(msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&after)));
    CHECK_EQ(after.msgpool, before.msgpool + 1);
    CHECK_EQ(after.msgmap, before.msgmap + 1);
    CHECK_EQ(after.msgtql, before.msgtql + 4);
    static char text[8192];
    CHECK_GT(read_file("/proc/sysvipc/msg", text, sizeof text), 0);
    char wanted[100];
    snprintf(wanted, sizeof wanted, "%10d %10d  %4o  %10u %10u %5d %5u", 0, id, 0600, 4, 1, getpid(), 0);
    CHECK(strstr(text, wanted));
    CHECK_GT(read_file("/proc/sys/kernel/msgmnb", text, sizeof text), 0);
    CHECK_STREQ(text, "16384\n");
    OK(msgctl(id, IPC_RMID, nullptr));
}
