// What common/host takes away from a process, tried in children.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/host/empty_root.hpp"
#include "common/host/landlock.hpp"

namespace kvmsbx::host {
namespace {

// Runs `test` in a child; gives what it gave, the number of the first step that went wrong, or 0.
template <typename Test>
int in_child(Test test) {
    const pid_t child = fork();
    if (child == 0) _exit(test());
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

class Trees : public ::testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/kvmsbx-host-XXXXXX";
        folder_ = mkdtemp(name);
        for (const char* tree : {"/open/a", "/open/b", "/fixed", "/closed"})
            std::filesystem::create_directories(folder_ + tree);
        for (const char* file : {"/open/a/file", "/fixed/file", "/closed/file", "/single"})
            std::ofstream(folder_ + file) << "text";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    int open_path(const char* name) const { return open((folder_ + name).c_str(), O_PATH | O_CLOEXEC); }
    bool refuses(const char* name, int flags) const {
        return open((folder_ + name).c_str(), flags, 0600) < 0 && errno == EACCES;
    }
    bool allows(const char* name, int flags) const { return open((folder_ + name).c_str(), flags, 0600) >= 0; }

    std::string folder_;
};

TEST_F(Trees, LandlockLeavesTheTreesOnly) {
    if (landlock_abi() == 0) GTEST_SKIP() << "this host has no Landlock";
    const int step = in_child([&] {
        const LandlockTree trees[] = {
            {open_path("/open"), false}, {open_path("/fixed"), true}, {open_path("/single"), false}};
        if (restrict_files(trees).is_error()) return 1;
        if (!allows("/open/new", O_RDWR | O_CREAT)) return 2;
        // A folder to another: what Landlock calls "refer".
        if (rename((folder_ + "/open/a/file").c_str(), (folder_ + "/open/b/file").c_str()) != 0) return 3;
        if (!allows("/fixed/file", O_RDONLY) || !refuses("/fixed/file", O_WRONLY)) return 4;
        if (!refuses("/fixed/new", O_RDWR | O_CREAT)) return 5;
        if (!allows("/single", O_RDWR | O_TRUNC)) return 6;
        if (!refuses("/closed/file", O_RDONLY) || !refuses("/closed/new", O_RDWR | O_CREAT)) return 7;
        return 0;
    });
    EXPECT_EQ(step, 0);
}

TEST_F(Trees, LandlockWithoutTreesLeavesNothing) {
    if (landlock_abi() == 0) GTEST_SKIP() << "this host has no Landlock";
    const int step = in_child([&] {
        const int held = open((folder_ + "/closed/file").c_str(), O_RDONLY);
        if (restrict_files({}).is_error()) return 1;
        if (!refuses("/open/a/file", O_RDONLY)) return 2;
        char byte;
        return read(held, &byte, 1) == 1 ? 0 : 3;  // what is open stays open
    });
    EXPECT_EQ(step, 0);
}

TEST_F(Trees, TheDeadRootIsEmptyAndCannotBeFilled) {
    if (geteuid() != 0) GTEST_SKIP() << "chroot needs root";
    const int folder = open_path("/open");
    const int step = in_child([&] {
        if (enter_dead_root().is_error()) return 1;
        if (access("/etc", F_OK) == 0) return 2;
        if (mkdir("/x", 0700) == 0 || open("/x", O_CREAT | O_WRONLY, 0600) >= 0) return 3;
        return openat(folder, "a/file", O_RDONLY) >= 0 ? 0 : 4;
    });
    EXPECT_EQ(step, 0);
}

TEST(DeadRoot, NeedsTheRight) {
    if (geteuid() != 0) GTEST_SKIP() << "gives up being root";
    const int step = in_child([] {
        if (setuid(65534) != 0) return 1;
        return enter_dead_root().error() == Errno::kPERM ? 0 : 2;
    });
    EXPECT_EQ(step, 0);
}

}  // namespace
}  // namespace kvmsbx::host
