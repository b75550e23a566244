// /dev of a container.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/guest/guest_test.hpp"

using namespace guest;

namespace {
void check_device(const char* path, unsigned major_number, unsigned minor_number) {
    struct stat status;
    OK(stat(path, &status));
    CHECK(S_ISCHR(status.st_mode));
    CHECK_EQ(major(status.st_rdev), major_number);
    CHECK_EQ(minor(status.st_rdev), minor_number);
}
}  // namespace

TEST("devices_have_linuxs_numbers") {
    check_device("/dev/null", 1, 3);
    check_device("/dev/zero", 1, 5);
    check_device("/dev/full", 1, 7);
    check_device("/dev/random", 1, 8);
    check_device("/dev/urandom", 1, 9);
    check_device("/dev/tty", 5, 0);
}

TEST("ptmx_is_a_link_into_pts") {
    char target[64] = {};
    OK(readlink("/dev/ptmx", target, sizeof target - 1));
    CHECK_STREQ(target, "pts/ptmx");
    check_device("/dev/ptmx", 5, 2);
}

TEST("standard_streams_are_links") {
    char target[64] = {};
    OK(readlink("/dev/stdin", target, sizeof target - 1));
    CHECK_STREQ(target, "/proc/self/fd/0");
    OK(readlink("/dev/fd", target, sizeof target - 1));
    CHECK_EQ(strncmp(target, "/proc/self/fd", 13), 0);
}

TEST("devices_of_the_host_are_absent") {
    for (const char* path : {"/dev/kmsg", "/dev/mem", "/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/sda"})
        CHECK_ERRNO(open(path, O_RDONLY), ENOENT);
}

TEST("core_would_be_kcore") {
    char target[64] = {};
    if (readlink("/dev/core", target, sizeof target - 1) < 0) SKIP("the test's own /dev has no core");
    CHECK_STREQ(target, "/proc/kcore");
}
