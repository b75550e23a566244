// Shared subtrees: mount_namespaces(7), as far as one namespace shows it.
#include "tests/guest/mount/mount_test.hpp"

using namespace guest;
using namespace mounts;

namespace {

void set_type(const char* path, unsigned long type) { OK(mount(nullptr, path, nullptr, type, nullptr)); }

// "a", a shared tmpfs with the directory "in", and "b", which is a bind mount of it.
std::string shared_pair() {
    const std::string base = base_mount();
    make_directory("a");
    make_directory("b");
    OK(mount_tmpfs("a"));
    set_type("a", MS_SHARED);
    make_directory("a/in");
    OK(mount_bind("a", "b"));
    return base;
}

}  // namespace

TEST("private_mounts_do_not_propagate") {
    base_mount();
    make_directory("a");
    make_directory("b");
    OK(mount_tmpfs("a"));
    make_directory("a/in");
    OK(mount_bind("a", "b"));
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    CHECK(!exists("b/in/file"));
}

TEST("peers_get_mounts_and_unmounts") {
    const std::string base = shared_pair();
    CHECK_NE(field_of(base + "/a", "shared"), 0);
    CHECK_EQ(field_of(base + "/a", "shared"), field_of(base + "/b", "shared"));
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    CHECK(exists("b/in/file"));
    CHECK_NE(field_of(base + "/a/in", "shared"), 0);
    CHECK_NE(field_of(base + "/a/in", "shared"), field_of(base + "/a", "shared"));
    CHECK_EQ(field_of(base + "/a/in", "shared"), field_of(base + "/b/in", "shared"));
    OK(umount2("b/in", 0));
    CHECK(!exists("a/in/file") && !exists("b/in/file"));
    CHECK_EQ(mounts_on(base + "/a/in"), 0);
}

TEST("slaves_hear_and_do_not_tell") {
    const std::string base = shared_pair();
    const int group = field_of(base + "/a", "shared");
    set_type("b", MS_SLAVE);
    CHECK_EQ(field_of(base + "/b", "master"), group);
    CHECK_EQ(field_of(base + "/b", "shared"), 0);
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    CHECK(exists("b/in/file"));
    CHECK_EQ(field_of(base + "/b/in", "master"), field_of(base + "/a/in", "shared"));
    OK(umount2("b/in", 0));
    CHECK(exists("a/in/file") && !exists("b/in/file"));
    make_directory("b/own");
    OK(mount_tmpfs("b/own"));
    make_file("b/own/file");
    CHECK(!exists("a/own/file"));
}

TEST("a_slave_can_be_shared_too") {
    const std::string base = shared_pair();
    make_directory("c");
    set_type("b", MS_SLAVE);
    set_type("b", MS_SHARED);
    OK(mount_bind("b", "c"));
    CHECK_EQ(field_of(base + "/c", "shared"), field_of(base + "/b", "shared"));
    CHECK_EQ(field_of(base + "/c", "master"), field_of(base + "/a", "shared"));
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    CHECK(exists("b/in/file") && exists("c/in/file"));
    CHECK_EQ(field_of(base + "/c/in", "shared"), field_of(base + "/b/in", "shared"));
    CHECK_EQ(field_of(base + "/c/in", "master"), field_of(base + "/a/in", "shared"));
    OK(umount2("c/in", 0));
    CHECK(!exists("b/in/file") && exists("a/in/file"));
}

TEST("slaves_of_slaves") {
    const std::string base = shared_pair();
    make_directory("c");
    set_type("b", MS_SLAVE);
    set_type("b", MS_SHARED);
    OK(mount_bind("b", "c"));
    set_type("c", MS_SLAVE);
    CHECK_EQ(field_of(base + "/c", "master"), field_of(base + "/b", "shared"));
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    CHECK(exists("c/in/file"));
    CHECK_EQ(field_of(base + "/c/in", "master"), field_of(base + "/b/in", "shared"));
    OK(umount2("a/in", 0));
    CHECK(!exists("c/in/file"));
}

TEST("private_leaves_the_group") {
    const std::string base = shared_pair();
    set_type("b", MS_PRIVATE);
    CHECK_EQ(field_of(base + "/b", "shared"), 0);
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    CHECK(!exists("b/in/file"));
}

TEST("slaves_of_an_ended_group_go_to_its_master") {
    const std::string base = shared_pair();
    make_directory("c");
    const int group = field_of(base + "/a", "shared");
    set_type("b", MS_SLAVE);
    set_type("b", MS_SHARED);
    OK(mount_bind("b", "c"));
    set_type("c", MS_SLAVE);
    set_type("b", MS_PRIVATE);
    CHECK_EQ(field_of(base + "/c", "master"), group);
    set_type("a", MS_PRIVATE);
    CHECK_EQ(field_of(base + "/c", "master"), 0);
}

TEST("slave_of_nobody_is_private") {
    const std::string base = base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    set_type("a", MS_SLAVE);
    CHECK_EQ(field_of(base + "/a", "master"), 0);
    set_type("a", MS_SHARED);
    set_type("a", MS_SLAVE);
    CHECK_EQ(field_of(base + "/a", "master"), 0);
    CHECK_EQ(field_of(base + "/a", "shared"), 0);
}

TEST("unbindable") {
    const std::string base = base_mount();
    for (const char* path : {"a", "b", "c"}) make_directory(path);
    OK(mount_tmpfs("a"));
    make_directory("a/in");
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    set_type("a/in", MS_UNBINDABLE);
    CHECK(info_of(base + "/a/in").find(" unbindable ") != std::string::npos);
    CHECK_ERRNO(mount_bind("a/in", "b"), EINVAL);
    OK(mount("a", "b", nullptr, MS_BIND | MS_REC, nullptr));
    CHECK(!exists("b/in/file"));
    OK(mount_tmpfs("c"));
    set_type("c", MS_SHARED);
    make_directory("c/in");
    CHECK_ERRNO(mount("a/in", "c/in", nullptr, MS_MOVE, nullptr), EINVAL);
    set_type("a/in", MS_PRIVATE);
    OK(mount("a/in", "c/in", nullptr, MS_MOVE, nullptr));
}

TEST("propagation_flags_alone") {
    base_mount();
    make_directory("a");
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_SHARED, nullptr), EINVAL);
    OK(mount_tmpfs("a"));
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_SHARED | MS_PRIVATE, nullptr), EINVAL);
    CHECK_ERRNO(mount(nullptr, "a", nullptr, MS_SHARED | MS_RDONLY, nullptr), EINVAL);
    OK(mount(nullptr, "a", nullptr, MS_SHARED | MS_SILENT, nullptr));
}

TEST("recursive_change") {
    const std::string base = base_mount();
    make_directory("a");
    OK(mount_tmpfs("a"));
    make_directory("a/in");
    OK(mount_tmpfs("a/in"));
    set_type("a", MS_SHARED);
    CHECK_EQ(field_of(base + "/a/in", "shared"), 0);
    set_type("a", MS_SHARED | MS_REC);
    CHECK_NE(field_of(base + "/a/in", "shared"), 0);
    set_type("a", MS_PRIVATE | MS_REC);
    CHECK_EQ(field_of(base + "/a/in", "shared"), 0);
}

TEST("bind_of_a_tree_on_a_shared_mount") {
    const std::string base = shared_pair();
    make_directory("tree");
    OK(mount_tmpfs("tree"));
    make_directory("tree/sub");
    OK(mount_tmpfs("tree/sub"));
    make_file("tree/sub/file");
    OK(mount("tree", "a/in", nullptr, MS_BIND | MS_REC, nullptr));
    CHECK(exists("b/in/sub/file"));
    CHECK_EQ(field_of(base + "/a/in/sub", "shared"), field_of(base + "/b/in/sub", "shared"));
    CHECK_EQ(field_of(base + "/tree", "shared"), 0);
    OK(umount2("a/in", MNT_DETACH));
    CHECK(!exists("b/in/sub") && exists("tree/sub/file"));
}

TEST("move_under_a_shared_mount") {
    const std::string base = shared_pair();
    make_directory("tree");
    OK(mount_tmpfs("tree"));
    make_file("tree/file");
    OK(mount("tree", "a/in", nullptr, MS_MOVE, nullptr));
    CHECK(exists("b/in/file"));
    // What stands on a shared mount cannot be moved away.
    CHECK_ERRNO(mount("a/in", "tree", nullptr, MS_MOVE, nullptr), EINVAL);
}

TEST("a_peer_that_does_not_show_the_place_gets_nothing") {
    const std::string base = base_mount();
    for (const char* path : {"a", "b"}) make_directory(path);
    OK(mount_tmpfs("a"));
    set_type("a", MS_SHARED);
    for (const char* path : {"a/in", "a/out"}) make_directory(path);
    OK(mount_bind("a/in", "b"));
    OK(mount_tmpfs("a/out"));
    make_directory("a/in/x");
    OK(mount_tmpfs("a/in/x"));
    CHECK_EQ(mounts_on(base + "/b/x"), 1);
    CHECK_EQ(mounts_on(base + "/b/out"), 0);
}

TEST("umount_waits_for_busy_copies") {
    shared_pair();
    OK(mount_tmpfs("a/in"));
    const int fd = OK(open("b/in", O_RDONLY));
    CHECK_ERRNO(umount2("a/in", 0), EBUSY);
    OK(close(fd));
    OK(umount2("a/in", 0));
}

TEST("a_copy_slips_below_what_stands_there") {
    const std::string base = shared_pair();
    set_type("b", MS_SLAVE);
    OK(mount_tmpfs("b/in"));
    make_file("b/in/own");
    OK(mount_tmpfs("a/in"));
    make_file("a/in/file");
    CHECK(exists("b/in/own") && !exists("b/in/file"));
    OK(umount2("b/in", 0));
    CHECK(exists("b/in/file"));
    OK(umount2("a/in", 0));
    CHECK(!exists("b/in/file"));
}

TEST("what_stands_on_a_copy_stays") {
    const std::string base = shared_pair();
    set_type("b", MS_SLAVE);
    OK(mount_tmpfs("a/in"));
    OK(mount_tmpfs("b/in"));
    make_file("b/in/own");
    OK(umount2("a/in", 0));
    CHECK(exists("b/in/own"));
    OK(umount2("b/in", 0));
    CHECK_EQ(mounts_on(base + "/b/in"), 0);
}
