// /proc/PID: settings of the OOM killer, and namespaces.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <set>

#include "tests/guest/proc/proc_text.hpp"

using namespace guest;
using namespace proc;

namespace {
constexpr long kNsfsMagic = 0x6e736673;
const char* const kNamespaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "user", "uts"};
}  // namespace

TEST("oom_score_adj_can_be_raised") {
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "500\n"), 0);
    CHECK_STREQ(content("/proc/self/oom_score_adj").c_str(), "500\n");
    CHECK_EQ(number_in(content("/proc/self/oom_adj"), ""), 8);
}

TEST("oom_score_adj_has_bounds") {
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "1001"), EINVAL);
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "-1001"), EINVAL);
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "x"), EINVAL);
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "1000"), 0);
}

TEST("oom_score_adj_cannot_be_lowered_without_capability") {
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "0"), 0);
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "-5"), EACCES);
    CHECK_STREQ(content("/proc/self/oom_score_adj").c_str(), "0\n");
}

TEST("oom_score_adj_is_inherited") {
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "321"), 0);
    CHECK_EXITED(run_child([] { CHECK_STREQ(content("/proc/self/oom_score_adj").c_str(), "321\n"); }), 0);
}

TEST("oom_adj_is_the_old_scale") {
    CHECK_EQ(write_error("/proc/self/oom_adj", "15"), 0);
    CHECK_STREQ(content("/proc/self/oom_score_adj").c_str(), "1000\n");
    CHECK_STREQ(content("/proc/self/oom_adj").c_str(), "15\n");
    CHECK_EQ(write_error("/proc/self/oom_adj", "16"), EINVAL);
    CHECK_EQ(write_error("/proc/self/oom_adj", "-18"), EINVAL);
}

TEST("oom_score_grows_with_oom_score_adj") {
    const long long before = number_in(content("/proc/self/oom_score"), "");
    CHECK_EQ(write_error("/proc/self/oom_score_adj", "900"), 0);
    const long long after = number_in(content("/proc/self/oom_score"), "");
    CHECK_GE(before, 0);
    CHECK_GT(after, before);
    CHECK_LE(after, 2000);
}

TEST("namespace_links_are_readable") {
    for (const char* name : kNamespaces) {
        const std::string target = link_of(std::string("/proc/self/ns/") + name);
        const std::string kind = std::string(name) == "pid_for_children" ? "pid" : name;
        CHECK_EQ(target.compare(0, kind.size() + 2, kind + ":["), 0);
        CHECK_EQ(target.back(), ']');
    }
}

TEST("a_namespaces_file_has_the_number_of_its_link") {
    struct stat status;
    OK(stat("/proc/self/ns/uts", &status));
    CHECK_STREQ(link_of("/proc/self/ns/uts").c_str(), ("uts:[" + std::to_string(status.st_ino) + "]").c_str());
    CHECK_EQ(status.st_mode, S_IFREG | 0444);
    struct statfs file_system;
    OK(statfs("/proc/self/ns/uts", &file_system));
    CHECK_EQ(file_system.f_type, kNsfsMagic);
}

TEST("namespaces_of_a_child_are_the_parents") {
    const std::string own = link_of("/proc/self/ns/mnt");
    struct stat mine;
    OK(stat("/proc/self/ns/pid", &mine));
    CHECK_EXITED(run_child([&] {
                     CHECK_STREQ(link_of("/proc/self/ns/mnt").c_str(), own.c_str());
                     struct stat status;
                     OK(stat("/proc/self/ns/pid", &status));
                     CHECK_EQ(status.st_ino, mine.st_ino);
                     CHECK_EQ(status.st_dev, mine.st_dev);
                 }),
                 0);
}

TEST("kinds_of_namespaces_differ") {
    std::set<ino_t> numbers;
    for (const char* name : {"ipc", "mnt", "net", "pid", "user", "uts"}) {
        struct stat status;
        OK(stat((std::string("/proc/self/ns/") + name).c_str(), &status));
        numbers.insert(status.st_ino);
    }
    CHECK_EQ(numbers.size(), 6u);
}

TEST("namespace_directory_lists_links") {
    DIR* directory = opendir("/proc/self/ns");
    CHECK(directory != nullptr);
    std::set<std::string> names;
    while (const dirent* entry = readdir(directory)) {
        if (entry->d_name[0] == '.') continue;
        CHECK_EQ(entry->d_type, DT_LNK);
        names.insert(entry->d_name);
    }
    for (const char* name : kNamespaces) CHECK(names.count(name) == 1);
}

TEST("a_namespaces_file_opens_but_cannot_be_read") {
    const int fd = OK(open("/proc/self/ns/net", O_RDONLY));
    char byte;
    CHECK_ERRNO(read(fd, &byte, 1), EINVAL);
    CHECK_ERRNO(open("/proc/self/ns/nothing", O_RDONLY), ENOENT);
}

// Where nobody made a time namespace, they are zero.
TEST("offsets_of_the_time_namespace_are_shown_and_fixed") {
    CHECK_STREQ(content("/proc/self/timens_offsets").c_str(),
                "monotonic           0         0\nboottime            0         0\n");
    CHECK_ERRNO(access("/proc/self/task/self/timens_offsets", F_OK), ENOENT);
    const int fd = OK(open("/proc/self/timens_offsets", O_WRONLY));
    CHECK_ERRNO(write(fd, "monotonic 5 0\n", 14), EPERM);  // without CAP_SYS_TIME
}

TEST("audit_ids_are_numbers_without_line_feed") {
    if (access("/proc/self/loginuid", F_OK) < 0) SKIP("this kernel has no audit");
    for (const char* name : {"/proc/self/loginuid", "/proc/self/sessionid"}) {
        const std::string text = content(name);
        CHECK(!text.empty());
        CHECK_EQ(text.find_first_not_of("0123456789"), std::string::npos);
    }
}

TEST("a_login_uid_begins_a_session_that_children_inherit") {
    const int fd = open("/proc/self/loginuid", O_RDWR);
    if (fd < 0) SKIP("this kernel has no audit");
    if (content("/proc/self/loginuid") != "4294967295") SKIP("there is a login already");
    // Another process's: the file is about who opened it here.
    CHECK_EXITED(run_child([&] { CHECK_ERRNO(write(fd, "5", 1), EPERM); }), 0);
    CHECK_EXITED(run_child([] {
                     const int own = OK(open("/proc/self/loginuid", O_WRONLY));
                     CHECK_ERRNO(write(own, "x", 1), EINVAL);
                     CHECK_ERRNO(write(own, "-5", 2), EINVAL);
                     CHECK_ERRNO(write(own, "4294967296", 10), ERANGE);
                     CHECK_EQ(write(own, "5\n", 2), 2);
                     CHECK_STREQ(content("/proc/self/loginuid").c_str(), "5");
                     const std::string session = content("/proc/self/sessionid");
                     CHECK(session != "4294967295");
                     CHECK_EXITED(run_child([&] {
                                      CHECK_STREQ(content("/proc/self/loginuid").c_str(), "5");
                                      CHECK_STREQ(content("/proc/self/sessionid").c_str(), session.c_str());
                                  }),
                                  0);
                 }),
                 0);
    CHECK_STREQ(content("/proc/self/loginuid").c_str(), "4294967295");
}

TEST("a_login_uid_that_is_set_is_changed_with_cap_audit_control_only") {
    if (access("/proc/self/loginuid", F_OK) < 0) SKIP("this kernel has no audit");
    CHECK_EXITED(run_child([] {
                     const int fd = OK(open("/proc/self/loginuid", O_WRONLY));
                     CHECK_EQ(write(fd, "5", 1), 1);
                     OK(setresuid(1000, 1000, 1000));
                     CHECK_ERRNO(pwrite(fd, "6", 1, 0), EPERM);
                 }),
                 0);
}
