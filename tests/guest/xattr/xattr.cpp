// Extended attributes: name spaces, flags, limits, lists, file capabilities.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {

void become(uid_t uid) {
    OK(setresgid(uid, uid, uid));
    OK(setresuid(uid, uid, uid));
}

std::string value_of(const char* path, const char* name) {
    char value[70000];
    ssize_t n = OK(getxattr(path, name, value, sizeof(value)));
    return std::string(value, static_cast<size_t>(n));
}

std::set<std::string> names_of(const char* path) {
    char list[70000];
    ssize_t n = OK(llistxattr(path, list, sizeof(list)));
    std::set<std::string> names;
    for (ssize_t at = 0; at < n; at += static_cast<ssize_t>(strlen(list + at)) + 1) names.insert(list + at);
    return names;
}

// A fresh folder on a file system with user attributes. In the sandbox that may be a host's without them; the
// Sentry's own tmpfs on /tmp always has them.
void attribute_scratch() {
    scratch();
    const char* const directory = getenv("GUEST_DIR");
    CHECK(write_file("probe", "x"));
    const int result = setxattr("probe", "user.probe", "x", 1, 0), error = errno;
    OK(unlink("probe"));
    if (result < 0 && error == EOPNOTSUPP && directory && strcmp(directory, "/tmp") != 0)
        SKIP("the file system has no user attributes");
}

void file_with(const char* name, const char* attribute, const char* value) {
    CHECK(write_file(name, "x"));
    OK(setxattr(name, attribute, value, strlen(value), 0));
}

}  // namespace

TEST("set_and_get") {
    attribute_scratch();
    file_with("file", "user.color", "blue");
    CHECK_STREQ(value_of("file", "user.color").c_str(), "blue");
    OK(setxattr("file", "user.color", "green!", 6, 0));
    CHECK_STREQ(value_of("file", "user.color").c_str(), "green!");
    CHECK(names_of("file").contains("user.color"));
}

TEST("get_asks_for_the_size_first") {
    attribute_scratch();
    file_with("file", "user.a", "12345");
    CHECK_EQ(getxattr("file", "user.a", nullptr, 0), 5);
    char small[4];
    CHECK_ERRNO(getxattr("file", "user.a", small, 4), ERANGE);
    CHECK_EQ(listxattr("file", nullptr, 0), 7);
    CHECK_ERRNO(listxattr("file", small, 4), ERANGE);
}

TEST("empty_value_is_a_value") {
    attribute_scratch();
    file_with("file", "user.empty", "");
    CHECK_EQ(getxattr("file", "user.empty", nullptr, 0), 0);
    CHECK(names_of("file").contains("user.empty"));
    file_with("file", "user.full", "x");
    OK(setxattr("file", "user.full", "", 0, XATTR_REPLACE));
    CHECK_EQ(getxattr("file", "user.full", nullptr, 0), 0);
    OK(setxattr("file", "user.null", nullptr, 0, XATTR_CREATE));
    CHECK_EQ(getxattr("file", "user.null", nullptr, 0), 0);
}

TEST("create_and_replace_flags") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(setxattr("file", "user.a", "1", 1, XATTR_REPLACE), ENODATA);
    OK(setxattr("file", "user.a", "1", 1, XATTR_CREATE));
    CHECK_ERRNO(setxattr("file", "user.a", "2", 1, XATTR_CREATE), EEXIST);
    OK(setxattr("file", "user.a", "3", 1, XATTR_REPLACE));
    CHECK_STREQ(value_of("file", "user.a").c_str(), "3");
    CHECK_ERRNO(setxattr("file", "user.a", "4", 1, 4), EINVAL);
}

TEST("remove") {
    attribute_scratch();
    file_with("file", "user.a", "1");
    OK(removexattr("file", "user.a"));
    CHECK_ERRNO(getxattr("file", "user.a", nullptr, 0), ENODATA);
    CHECK_ERRNO(removexattr("file", "user.a"), ENODATA);
    CHECK_EQ(names_of("file").size(), 0u);
}

TEST("several_attributes_of_one_file") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    for (int i = 0; i < 20; ++i) {
        const std::string name = "user.name" + std::to_string(i), value = std::to_string(i * i);
        OK(setxattr("file", name.c_str(), value.data(), value.size(), 0));
    }
    CHECK_EQ(names_of("file").size(), 20u);
    CHECK_STREQ(value_of("file", "user.name13").c_str(), "169");
    OK(removexattr("file", "user.name13"));
    CHECK_EQ(names_of("file").size(), 19u);
    CHECK_STREQ(value_of("file", "user.name19").c_str(), "361");
}

TEST("binary_values") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    char bytes[256];
    for (int i = 0; i < 256; ++i) bytes[i] = static_cast<char>(i);
    OK(setxattr("file", "user.bytes", bytes, sizeof(bytes), 0));
    const std::string back = value_of("file", "user.bytes");
    CHECK_EQ(back.size(), sizeof(bytes));
    CHECK(memcmp(back.data(), bytes, sizeof(bytes)) == 0);
}

TEST("value_of_a_few_kilobytes") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    const std::string value(3000, 'v');
    OK(setxattr("file", "user.long", value.data(), value.size(), 0));
    CHECK(value_of("file", "user.long") == value);
}

TEST("limits_of_names_and_values") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    const std::string longest = "user." + std::string(250, 'n'), too_long = longest + "n";
    OK(setxattr("file", longest.c_str(), "1", 1, 0));
    CHECK_STREQ(value_of("file", longest.c_str()).c_str(), "1");
    CHECK_ERRNO(setxattr("file", too_long.c_str(), "1", 1, 0), ERANGE);
    CHECK_ERRNO(getxattr("file", too_long.c_str(), nullptr, 0), ERANGE);
    CHECK_ERRNO(setxattr("file", "", "1", 1, 0), ERANGE);
    const std::vector<char> large(65537);
    CHECK_ERRNO(setxattr("file", "user.large", large.data(), large.size(), 0), E2BIG);
}

TEST("names_without_or_of_unknown_name_space") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(setxattr("file", "color", "1", 1, 0), EOPNOTSUPP);
    CHECK_ERRNO(setxattr("file", "other.color", "1", 1, 0), EOPNOTSUPP);
    CHECK_ERRNO(getxattr("file", "other.color", nullptr, 0), EOPNOTSUPP);
    CHECK_ERRNO(setxattr("file", "user.", "1", 1, 0), EINVAL);
}

TEST("bad_addresses") {
    attribute_scratch();
    file_with("file", "user.a", "12345");
    char* const bad = reinterpret_cast<char*>(8);
    CHECK_ERRNO(setxattr("file", "user.b", bad, 5, 0), EFAULT);
    CHECK_ERRNO(getxattr("file", "user.a", bad, 5), EFAULT);
    CHECK_ERRNO(getxattr("file", bad, nullptr, 0), EFAULT);
    CHECK_ERRNO(listxattr("file", bad, 100), EFAULT);
    CHECK_ERRNO(getxattr(bad, "user.a", nullptr, 0), EFAULT);
}

TEST("missing_files_and_descriptors") {
    attribute_scratch();
    CHECK_ERRNO(setxattr("none", "user.a", "1", 1, 0), ENOENT);
    CHECK_ERRNO(getxattr("none", "user.a", nullptr, 0), ENOENT);
    CHECK_ERRNO(listxattr("none", nullptr, 0), ENOENT);
    CHECK_ERRNO(fsetxattr(-1, "user.a", "1", 1, 0), EBADF);
    CHECK_ERRNO(fgetxattr(999, "user.a", nullptr, 0), EBADF);
    CHECK_ERRNO(setxattr("none", "user.a", "1", 1, 8), EINVAL);
}

TEST("by_descriptor") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    int fd = OK(open("file", O_RDONLY));
    OK(fsetxattr(fd, "user.a", "1", 1, 0));
    char value[4];
    CHECK_EQ(fgetxattr(fd, "user.a", value, 4), 1);
    CHECK_EQ(flistxattr(fd, nullptr, 0), 7);
    OK(unlink("file"));
    OK(fremovexattr(fd, "user.a"));
    CHECK_ERRNO(fgetxattr(fd, "user.a", value, 4), ENODATA);
}

TEST("o_path_descriptor_is_ebadf") {
    attribute_scratch();
    file_with("file", "user.a", "1");
    int fd = OK(open("file", O_PATH));
    CHECK_ERRNO(fgetxattr(fd, "user.a", nullptr, 0), EBADF);
    CHECK_ERRNO(fsetxattr(fd, "user.a", "1", 1, 0), EBADF);
}

TEST("directories_have_attributes") {
    attribute_scratch();
    OK(mkdir("folder", 0755));
    OK(setxattr("folder", "user.a", "1", 1, 0));
    CHECK_STREQ(value_of("folder", "user.a").c_str(), "1");
    OK(rename("folder", "renamed"));
    CHECK_STREQ(value_of("renamed", "user.a").c_str(), "1");
}

TEST("symlinks_and_fifos_have_no_user_attributes") {
    attribute_scratch();
    file_with("file", "user.a", "1");
    OK(symlink("file", "link"));
    CHECK_STREQ(value_of("link", "user.a").c_str(), "1");
    CHECK_ERRNO(lgetxattr("link", "user.a", nullptr, 0), ENODATA);
    CHECK_ERRNO(lsetxattr("link", "user.b", "1", 1, 0), EPERM);
    OK(setxattr("link", "user.c", "1", 1, 0));
    CHECK_EQ(names_of("link").size(), 0u);
    OK(mkfifo("fifo", 0644));
    CHECK_ERRNO(setxattr("fifo", "user.a", "1", 1, 0), EPERM);
    CHECK_ERRNO(getxattr("fifo", "user.a", nullptr, 0), ENODATA);
    CHECK_EQ(names_of("fifo").size(), 0u);
}

TEST("user_attributes_follow_the_mode_bits") {
    attribute_scratch();
    file_with("file", "user.a", "1");
    OK(chmod("file", 0600));
    CHECK_EXITED(run_child([] {
                     become(1000);
                     CHECK_ERRNO(getxattr("file", "user.a", nullptr, 0), EACCES);
                     CHECK_ERRNO(setxattr("file", "user.a", "2", 1, 0), EACCES);
                 }),
                 0);
    OK(chmod("file", 0644));
    CHECK_EXITED(run_child([] {
                     become(1000);
                     CHECK_EQ(getxattr("file", "user.a", nullptr, 0), 1);
                     CHECK_ERRNO(removexattr("file", "user.a"), EACCES);
                 }),
                 0);
}

TEST("sticky_directory_is_for_its_owner") {
    attribute_scratch();
    OK(mkdir("folder", 0777));
    OK(chmod("folder", 01777));
    CHECK_EXITED(run_child([] {
                     become(1000);
                     CHECK_ERRNO(setxattr("folder", "user.a", "1", 1, 0), EPERM);
                 }),
                 0);
    OK(setxattr("folder", "user.a", "1", 1, 0));
}

TEST("trusted_attributes_need_cap_sys_admin") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(setxattr("file", "trusted.a", "1", 1, 0), EPERM);
    CHECK_ERRNO(getxattr("file", "trusted.a", nullptr, 0), ENODATA);
    CHECK_ERRNO(removexattr("file", "trusted.a"), EPERM);
}

TEST("security_attributes_need_cap_sys_admin_to_be_set") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    CHECK_ERRNO(setxattr("file", "security.mine", "1", 1, 0), EPERM);
    CHECK_ERRNO(removexattr("file", "security.mine"), EPERM);
}

TEST("attributes_stay_with_the_inode") {
    attribute_scratch();
    file_with("file", "user.a", "1");
    OK(link("file", "second"));
    CHECK_STREQ(value_of("second", "user.a").c_str(), "1");
    OK(setxattr("second", "user.a", "2", 1, 0));
    OK(rename("file", "third"));
    CHECK_STREQ(value_of("third", "user.a").c_str(), "2");
    OK(unlink("third"));
    CHECK(write_file("third", "y"));
    CHECK_ERRNO(getxattr("third", "user.a", nullptr, 0), ENODATA);
}

TEST("setting_changes_ctime_alone") {
    attribute_scratch();
    CHECK(write_file("file", "x"));
    struct stat before, after;
    OK(stat("file", &before));
    sleep_ms(30);
    OK(setxattr("file", "user.a", "1", 1, 0));
    OK(stat("file", &after));
    CHECK_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    CHECK(before.st_ctim.tv_nsec != after.st_ctim.tv_nsec || before.st_ctim.tv_sec != after.st_ctim.tv_sec);
}

TEST("file_systems_without_attributes") {
    CHECK_ERRNO(getxattr("/proc/self/status", "user.a", nullptr, 0), EOPNOTSUPP);
    CHECK_EQ(listxattr("/proc/self/status", nullptr, 0), 0);
    CHECK_EQ(listxattr("/dev/null", nullptr, 0), 0);
}

namespace {

struct Record {
    uint32_t magic, permitted, inheritable, permitted_high, inheritable_high;
};

uint64_t permitted_after_exec(const char* program) {
    int ends[2];
    OK(pipe(ends));
    pid_t pid = OK(fork());
    if (pid == 0) {
        become(1000);
        dup2(ends[1], 1);
        execl(program, "grep", "CapPrm", "/proc/self/status", nullptr);
        _exit(errno);
    }
    close(ends[1]);
    char text[200] = {};
    (void)!read(ends[0], text, sizeof(text) - 1);
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, 0);
    return strtoull(text + strlen("CapPrm:"), nullptr, 16);
}

// A copy of BusyBox as `grep` on a tmpfs without nosuid.
std::string program_copy() {
    const std::string target = "/tmp/grep";
    OK(unlink(target.c_str()) == 0 || errno == ENOENT ? 0 : -1);
    int in = OK(open("/bin/busybox", O_RDONLY)), out = OK(open(target.c_str(), O_WRONLY | O_CREAT, 0755));
    char buffer[65536];
    for (ssize_t n; (n = OK(read(in, buffer, sizeof(buffer)))) > 0;)
        CHECK_EQ(write(out, buffer, static_cast<size_t>(n)), n);
    close(in);
    close(out);
    OK(chmod(target.c_str(), 0755));
    return target;
}

}  // namespace

TEST("file_capabilities_count_on_exec") {
    const std::string program = program_copy();
    CHECK_EQ(permitted_after_exec(program.c_str()), 0);
    const Record record = {0x02000001, 1u << CAP_CHOWN | 1u << CAP_KILL, 0, 0, 0};
    OK(setxattr(program.c_str(), "security.capability", &record, sizeof(record), 0));
    CHECK_EQ(permitted_after_exec(program.c_str()), 1u << CAP_CHOWN | 1u << CAP_KILL);
    OK(unlink(program.c_str()));
}

TEST("file_capabilities_beyond_the_bounding_set_are_eperm") {
    const std::string program = program_copy();
    const Record record = {0x02000001, 1u << CAP_SYS_ADMIN, 0, 0, 0};
    OK(setxattr(program.c_str(), "security.capability", &record, sizeof(record), 0));
    pid_t pid = OK(fork());
    if (pid == 0) {
        become(1000);
        execl(program.c_str(), "grep", nullptr);
        _exit(errno);
    }
    int status;
    OK(waitpid(pid, &status, 0));
    CHECK_EXITED(status, EPERM);
    OK(unlink(program.c_str()));
}

TEST("file_capabilities_go_when_written_or_chowned") {
    const std::string program = program_copy();
    const Record record = {0x02000001, 1u << CAP_KILL, 0, 0, 0};
    const char* path = program.c_str();
    OK(setxattr(path, "security.capability", &record, sizeof(record), 0));
    int fd = OK(open(path, O_WRONLY | O_APPEND));
    OK(write(fd, "x", 1));
    CHECK_ERRNO(getxattr(path, "security.capability", nullptr, 0), ENODATA);
    OK(setxattr(path, "security.capability", &record, sizeof(record), 0));
    OK(chown(path, 1000, 1000));
    CHECK_ERRNO(getxattr(path, "security.capability", nullptr, 0), ENODATA);
    close(fd);
    OK(unlink(path));
}

TEST("capability_records_are_checked") {
    const std::string program = program_copy();
    const Record bad = {0x07000001, 1, 0, 0, 0};
    CHECK_ERRNO(setxattr(program.c_str(), "security.capability", &bad, sizeof(bad), 0), EINVAL);
    CHECK_ERRNO(setxattr(program.c_str(), "security.capability", "x", 1, 0), EINVAL);
    CHECK_EXITED(run_child([&] {
                     become(1000);
                     const Record good = {0x02000001, 1, 0, 0, 0};
                     CHECK_ERRNO(setxattr(program.c_str(), "security.capability", &good, sizeof(good), 0), EPERM);
                 }),
                 0);
    OK(unlink(program.c_str()));
}
