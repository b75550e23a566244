// pivot_root(2). The container's root need not be a mount natively, so that each case changes its root to one first.
#include "tests/guest/mount/mount_test.hpp"

using namespace guest;
using namespace mounts;

namespace {

int pivot_root(const char* new_root, const char* put_old) {
    return static_cast<int>(syscall(SYS_pivot_root, new_root, put_old));
}

// The task's root becomes a tmpfs with a tmpfs on /new, which has /new/old.
void own_root() {
    base_mount();
    make_directory("root");
    OK(mount_tmpfs("root"));
    OK(mount(nullptr, "root", nullptr, MS_PRIVATE, nullptr));
    OK(chroot("root"));
    OK(chdir("/"));
    make_directory("/new");
    make_directory("/plain");
    make_file("/before");
    OK(mount_tmpfs("/new"));
    make_directory("/new/old");
    make_file("/new/after");
}

}  // namespace

TEST("pivot_root_swaps_the_roots") {
    own_root();
    OK(pivot_root("/new", "/new/old"));
    CHECK(exists("/after") && exists("/old/before") && !exists("/before"));
    CHECK(exists("after"));  // the working directory was the old root
    OK(umount2("/old", MNT_DETACH));
    CHECK(!exists("/old/before"));
}

TEST("pivot_root_onto_itself") {
    own_root();
    OK(chdir("/new"));
    OK(pivot_root(".", "."));
    CHECK(exists("/after") && exists("/../before"));  // the old root lies on the new one
    OK(umount2(".", MNT_DETACH));
    OK(chdir("/"));
    CHECK(exists("/after") && !exists("/before"));
}

TEST("pivot_root_moves_other_processes") {
    own_root();
    int go[2], ready[2];
    OK(pipe(go));
    OK(pipe(ready));
    char byte = 0;
    const pid_t child = OK(fork());
    if (child == 0) {
        CHECK_EQ(read(go[0], &byte, 1), 1);
        CHECK(exists("/after") && exists("after"));
        _exit(0);
    }
    OK(pivot_root("/new", "/new/old"));
    CHECK_EQ(write(go[1], &byte, 1), 1);
    int status;
    OK(waitpid(child, &status, 0));
    CHECK_EXITED(status, 0);
}

TEST("pivot_root_errors") {
    own_root();
    make_file("/new/file");
    CHECK_ERRNO(pivot_root("/missing", "/new/old"), ENOENT);
    CHECK_ERRNO(pivot_root("/new", "/new/missing"), ENOENT);
    CHECK_ERRNO(pivot_root("/new/file", "/new/old"), ENOTDIR);
    CHECK_ERRNO(pivot_root("/new", "/new/file"), ENOTDIR);
    CHECK_ERRNO(pivot_root("/new/old", "/new/old"), EINVAL);  // no mount
    CHECK_ERRNO(pivot_root("/", "/new/old"), EBUSY);
    CHECK_ERRNO(pivot_root("/new", "/plain"), EBUSY);
    CHECK_ERRNO(pivot_root(reinterpret_cast<const char*>(8), "/new"), EFAULT);
    OK(mount_tmpfs("/plain"));
    make_directory("/plain/x");
    CHECK_ERRNO(pivot_root("/new", "/plain/x"), EINVAL);  // not below the new root
}

TEST("pivot_root_wants_private_mounts") {
    own_root();
    OK(mount(nullptr, "/", nullptr, MS_SHARED, nullptr));
    CHECK_ERRNO(pivot_root("/new", "/new/old"), EINVAL);
    OK(mount(nullptr, "/", nullptr, MS_PRIVATE, nullptr));
    OK(mount(nullptr, "/new", nullptr, MS_SHARED, nullptr));
    CHECK_ERRNO(pivot_root("/new", "/new/old"), EINVAL);
    OK(mount(nullptr, "/new", nullptr, MS_PRIVATE, nullptr));
    OK(pivot_root("/new", "/new/old"));
}

TEST("pivot_root_wants_the_root_to_be_a_mount") {
    base_mount();
    make_directory("root");
    make_directory("root/new");
    OK(chroot("root"));
    OK(chdir("/"));
    OK(mount_tmpfs("/new"));
    make_directory("/new/old");
    CHECK_ERRNO(pivot_root("/new", "/new/old"), EINVAL);
}
