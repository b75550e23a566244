// NETLINK_GENERIC: the controller, and TASKSTATS (Linux: Documentation/accounting/taskstats.rst), which wants
// CAP_NET_ADMIN.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/genetlink.h>
#include <linux/taskstats.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "tests/guest/netlink/messages.hpp"

using namespace guest;

namespace {

using GenericRequest = Request<genlmsghdr>;

int generic_socket() { return OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC)); }

GenericRequest request(int family, int command, int flags = 0) {
    GenericRequest made(family, flags);
    made.body.cmd = static_cast<uint8_t>(command);
    made.body.version = 1;
    return made;
}

// The family's answer as it lies in `buffer`; null: an error.
nlmsghdr* ask(int fd, GenericRequest& wanted) {
    wanted.send_on(fd);
    const ssize_t size = OK(recv(fd, buffer, sizeof buffer, 0));
    auto* answer = reinterpret_cast<nlmsghdr*>(buffer);
    CHECK_GE(size, static_cast<ssize_t>(answer->nlmsg_len));
    return answer->nlmsg_type == NLMSG_ERROR ? nullptr : answer;
}

int error_in_buffer() {
    auto* answer = reinterpret_cast<nlmsghdr*>(buffer);
    CHECK_EQ(answer->nlmsg_type, NLMSG_ERROR);
    return -static_cast<nlmsgerr*>(NLMSG_DATA(answer))->error;
}

int family_number(int fd, const char* name) {
    GenericRequest wanted = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    wanted.add(CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
    nlmsghdr* answer = ask(fd, wanted);
    if (!answer && !strcmp(name, TASKSTATS_GENL_NAME)) SKIP("TASKSTATS is only for the first network namespace");
    if (!answer) return -error_in_buffer();
    CHECK_EQ(answer->nlmsg_type, GENL_ID_CTRL);
    CHECK_EQ(static_cast<genlmsghdr*>(NLMSG_DATA(answer))->cmd, CTRL_CMD_NEWFAMILY);
    const void* const data = attribute(*answer, GENL_HDRLEN, CTRL_ATTR_FAMILY_ID);
    CHECK(data != nullptr);
    uint16_t number;
    memcpy(&number, data, sizeof number);
    return number;
}

// Of `who` by the attribute; 0, or the error.
int statistics(int fd, int type, pid_t who, taskstats& to) {
    GenericRequest wanted = request(family_number(fd, TASKSTATS_GENL_NAME), TASKSTATS_CMD_GET);
    wanted.add(type, &who, sizeof who);
    nlmsghdr* answer = ask(fd, wanted);
    if (!answer) return error_in_buffer();
    CHECK_EQ(static_cast<genlmsghdr*>(NLMSG_DATA(answer))->cmd, TASKSTATS_CMD_NEW);
    const bool thread = type == TASKSTATS_CMD_ATTR_PID;
    auto* about = static_cast<char*>(const_cast<void*>(
        attribute(*answer, GENL_HDRLEN, thread ? TASKSTATS_TYPE_AGGR_PID : TASKSTATS_TYPE_AGGR_TGID)));
    CHECK(about != nullptr);
    auto* first = reinterpret_cast<rtattr*>(about);
    CHECK_EQ(first->rta_type, thread ? TASKSTATS_TYPE_PID : TASKSTATS_TYPE_TGID);
    pid_t told;
    memcpy(&told, RTA_DATA(first), sizeof told);
    CHECK_EQ(told, who);
    auto* second = reinterpret_cast<rtattr*>(about + RTA_ALIGN(first->rta_len));
    CHECK_EQ(second->rta_type, TASKSTATS_TYPE_STATS);
    to = {};
    const size_t size = second->rta_len - RTA_LENGTH(0);
    memcpy(&to, RTA_DATA(second), size < sizeof to ? size : sizeof to);
    return 0;
}

taskstats own(int fd) {
    taskstats found;
    CHECK_EQ(statistics(fd, TASKSTATS_CMD_ATTR_PID, static_cast<pid_t>(gettid()), found), 0);
    return found;
}

}  // namespace

TEST("the_controller_finds_a_family_by_name_and_number") {
    const int fd = generic_socket();
    CHECK_EQ(family_number(fd, "nlctrl"), GENL_ID_CTRL);
    const int number = family_number(fd, TASKSTATS_GENL_NAME);
    CHECK_GE(number, GENL_ID_CTRL + 1);
    GenericRequest wanted = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    const auto by_number = static_cast<uint16_t>(number);
    wanted.add(CTRL_ATTR_FAMILY_ID, &by_number, sizeof by_number);
    nlmsghdr* answer = ask(fd, wanted);
    CHECK(answer != nullptr);
    CHECK_STREQ(static_cast<const char*>(attribute(*answer, GENL_HDRLEN, CTRL_ATTR_FAMILY_NAME)), TASKSTATS_GENL_NAME);
    CHECK_EQ(guest::number(*answer, GENL_HDRLEN, CTRL_ATTR_VERSION), TASKSTATS_GENL_VERSION);
    CHECK_EQ(guest::number(*answer, GENL_HDRLEN, CTRL_ATTR_HDRSIZE), 0u);
    CHECK(attribute(*answer, GENL_HDRLEN, CTRL_ATTR_OPS) != nullptr);
}

TEST("the_controllers_errors") {
    const int fd = generic_socket();
    CHECK_EQ(family_number(fd, "no such family"), -ENOENT);
    GenericRequest empty = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    CHECK(ask(fd, empty) == nullptr);
    CHECK_EQ(error_in_buffer(), EINVAL);
    GenericRequest unknown_command = request(GENL_ID_CTRL, 99);
    CHECK(ask(fd, unknown_command) == nullptr);
    CHECK_EQ(error_in_buffer(), EOPNOTSUPP);
    GenericRequest unknown_family = request(999, 1);
    CHECK(ask(fd, unknown_family) == nullptr);
    CHECK_EQ(error_in_buffer(), ENOENT);
    GenericRequest cut = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    cut.header.nlmsg_len = NLMSG_LENGTH(2);
    CHECK(ask(fd, cut) == nullptr);
    CHECK_EQ(error_in_buffer(), EINVAL);
}

TEST("the_controllers_dump_has_all_families") {
    const int fd = generic_socket();
    GenericRequest wanted = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_DUMP);
    wanted.send_on(fd);
    bool controller = false, statistics = false;
    const int last = each_answer(fd, [&](nlmsghdr& one) {
        const auto* name = static_cast<const char*>(attribute(one, GENL_HDRLEN, CTRL_ATTR_FAMILY_NAME));
        CHECK(name != nullptr);
        controller |= !strcmp(name, "nlctrl");
        statistics |= !strcmp(name, TASKSTATS_GENL_NAME);
    });
    CHECK_EQ(last, NLMSG_DONE);
    CHECK(controller && statistics);
}

TEST("an_acknowledgement_comes_when_asked_for") {
    const int fd = generic_socket();
    GenericRequest wanted = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);
    wanted.add(CTRL_ATTR_FAMILY_NAME, "nlctrl", 7);
    CHECK(ask(fd, wanted) != nullptr);
    CHECK_EQ(error_of(fd), 0);
}

TEST("statistics_tell_who_it_is") {
    const int fd = generic_socket();
    OK(prctl(PR_SET_NAME, "taskstats test"));
    const taskstats found = own(fd);
    CHECK_GE(found.version, 8);
    CHECK_STREQ(found.ac_comm, "taskstats test");
    CHECK_EQ(found.ac_pid, static_cast<uint32_t>(getpid()));
    CHECK_EQ(found.ac_ppid, static_cast<uint32_t>(getppid()));
    CHECK_EQ(found.ac_uid, getuid());
    CHECK_EQ(found.ac_gid, getgid());
    CHECK_EQ(found.ac_nice, 0);
    CHECK_EQ(found.ac_exitcode, 0u);
    CHECK_EQ(found.ac_tgid, static_cast<uint32_t>(getpid()));
    const time_t now = time(nullptr);
    CHECK(found.ac_btime <= now + 1 && found.ac_btime + 60 > now);
    struct stat program;
    OK(stat("/proc/self/exe", &program));
    CHECK_EQ(found.ac_exe_inode, program.st_ino);
}

TEST("statistics_grow") {
    const int fd = generic_socket();
    const taskstats before = own(fd);
    burn_ms(60);
    for (int i = 0; i < 5; ++i) sleep_ms(2);
    constexpr size_t kSize = 1 << 20;
    auto* memory = new char[kSize];
    for (size_t i = 0; i < kSize; i += 4096) memory[i] = 1;
    const int file = OK(open("/dev/zero", O_RDONLY));
    for (int i = 0; i < 4; ++i) CHECK_EQ(read(file, memory, 65536), 65536);
    const taskstats after = own(fd);
    CHECK_GE(after.ac_etime - before.ac_etime, 60'000u);
    CHECK_GE(after.ac_utime + after.ac_stime, before.ac_utime + before.ac_stime + 20'000);
    CHECK_GE(after.nvcsw, before.nvcsw + 5);
    CHECK_GE(after.ac_minflt + after.ac_majflt, before.ac_minflt + 1);
    CHECK_GE(after.read_char, before.read_char + 256 * 1024);
    CHECK_GE(after.hiwater_rss, 1024u);
    CHECK_GE(after.hiwater_vm, after.hiwater_rss);
    CHECK_GE(after.cpu_run_real_total, before.cpu_run_real_total + 20'000'000);
}

TEST("statistics_of_threads_and_of_the_group") {
    static int ready[2], done[2];
    OK(pipe(ready));
    OK(pipe(done));
    pthread_t thread;
    const auto body = [](void*) -> void* {
        OK(prctl(PR_SET_NAME, "another thread"));
        const pid_t self = static_cast<pid_t>(gettid());
        for (int i = 0; i < 5; ++i) sleep_ms(1);
        CHECK_EQ(write(ready[1], &self, sizeof self), static_cast<ssize_t>(sizeof self));
        char byte;
        CHECK_EQ(read(done[0], &byte, 1), 1);
        return nullptr;
    };
    CHECK_EQ(pthread_create(&thread, nullptr, body, nullptr), 0);
    pid_t other;
    CHECK_EQ(read(ready[0], &other, sizeof other), static_cast<ssize_t>(sizeof other));
    const int fd = generic_socket();
    taskstats found, group;
    CHECK_EQ(statistics(fd, TASKSTATS_CMD_ATTR_PID, other, found), 0);
    CHECK_STREQ(found.ac_comm, "another thread");
    CHECK_EQ(found.ac_pid, static_cast<uint32_t>(other));
    CHECK_GE(found.nvcsw, 5u);
    CHECK_EQ(statistics(fd, TASKSTATS_CMD_ATTR_TGID, getpid(), group), 0);
    CHECK_GE(group.nvcsw, found.nvcsw);
    CHECK_EQ(group.ac_pid, 0u);
    CHECK_EQ(write(done[1], "x", 1), 1);
    pthread_join(thread, nullptr);
}

TEST("statistics_of_another_process_and_of_a_zombie") {
    const int fd = generic_socket();
    int ends[2];
    OK(pipe(ends));
    const pid_t child = OK(fork());
    if (child == 0) {
        OK(prctl(PR_SET_NAME, "the child"));
        CHECK_EQ(write(ends[1], "x", 1), 1);
        pause();
    }
    char byte;
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    taskstats found;
    CHECK_EQ(statistics(fd, TASKSTATS_CMD_ATTR_PID, child, found), 0);
    CHECK_STREQ(found.ac_comm, "the child");
    CHECK_EQ(found.ac_ppid, static_cast<uint32_t>(getpid()));
    OK(kill(child, SIGTERM));
    siginfo_t info;
    OK(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT));
    CHECK_EQ(statistics(fd, TASKSTATS_CMD_ATTR_PID, child, found), 0);
    CHECK_STREQ(found.ac_comm, "the child");
    CHECK_EQ(found.ac_exitcode, static_cast<uint32_t>(SIGTERM));
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(statistics(fd, TASKSTATS_CMD_ATTR_PID, child, found), ESRCH);
    CHECK_EQ(statistics(fd, TASKSTATS_CMD_ATTR_TGID, child, found), ESRCH);
}

TEST("statistics_errors") {
    const int fd = generic_socket(), family = family_number(fd, TASKSTATS_GENL_NAME);
    GenericRequest empty = request(family, TASKSTATS_CMD_GET);
    CHECK(ask(fd, empty) == nullptr);
    CHECK_EQ(error_in_buffer(), EINVAL);
    GenericRequest cut = request(family, TASKSTATS_CMD_GET);
    cut.add(TASKSTATS_CMD_ATTR_PID, "a", 2);
    CHECK(ask(fd, cut) == nullptr);
    CHECK_EQ(error_in_buffer(), ERANGE);
    GenericRequest dump = request(family, TASKSTATS_CMD_GET, NLM_F_DUMP);
    CHECK(ask(fd, dump) == nullptr);
    CHECK_EQ(error_in_buffer(), EOPNOTSUPP);
    GenericRequest unknown = request(family, 77);
    CHECK(ask(fd, unknown) == nullptr);
    CHECK_EQ(error_in_buffer(), EOPNOTSUPP);
    taskstats found;
    CHECK_EQ(statistics(fd, TASKSTATS_CMD_ATTR_PID, -5, found), ESRCH);
}

TEST("statistics_want_a_capability") {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[2] = {};
    OK(syscall(SYS_capset, &header, sets));
    taskstats found;
    CHECK_EQ(statistics(generic_socket(), TASKSTATS_CMD_ATTR_PID, getpid(), found), EPERM);
}
