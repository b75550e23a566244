#include "oci/container/hooks.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/host/fd.hpp"

namespace kvmsbx::oci {
namespace {

class Hooks : public testing::Test {
  protected:
    Hooks() {
        char name[] = "/tmp/kvmsbx-hooks-XXXXXX";
        folder_ = mkdtemp(name);
    }
    ~Hooks() override { std::filesystem::remove_all(folder_); }

    HookSpec shell(const std::string& script) const {
        return {"/bin/sh", {"sh", "-c", script}, {"PATH=/usr/bin:/bin", "OUT=" + folder_ + "/out"}, {}};
    }
    std::string out() const {
        std::stringstream text;
        text << std::ifstream(folder_ + "/out").rdbuf();
        return text.str();
    }
    std::string failure(const HookSpec& hook, const HookContext& context = {}) const {
        const Outcome<> outcome = run_hook(hook, "prestart", "{}", context);
        return outcome.is_ok() ? "" : outcome.error().message;
    }
    void succeed(const HookSpec& hook, const std::string& state = "{}", const HookContext& context = {}) const {
        const Outcome<> outcome = run_hook(hook, "prestart", state, context);
        EXPECT_TRUE(outcome.is_ok()) << outcome.error().message;
    }

    std::string folder_;
};

TEST_F(Hooks, StateOnStdinWhole) {
    const std::string state(300'000, 'x');  // more than a pipe holds
    succeed(shell("cat >$OUT"), state);
    EXPECT_EQ(out(), state);
    succeed(shell("true"), state);  // one that does not read it
}

TEST_F(Hooks, ArgumentsAndEnvironmentAsGiven) {
    succeed({"/bin/sh",
             {"zeroth", "-c", "echo $0 $1 >$OUT; tr '\\0' '\\n' </proc/$$/environ >>$OUT", "a", "b c"},
             {"OUT=" + folder_ + "/out"},
             {}});
    EXPECT_EQ(out(), "a b c\nOUT=" + folder_ + "/out\n");
    succeed({"/bin/true", {}, {}, {}});
}

TEST_F(Hooks, NoDescriptorButTheStandardOnes) {
    const host::Fd leaked(dup(0));  // without close-on-exec
    succeed(shell("ls /proc/self/fd | tr '\\n' ' ' >$OUT"));
    EXPECT_EQ(out(), "0 1 2 3 ");  // 3: the folder that ls reads
}

TEST_F(Hooks, StandardDescriptorsOfTheCallerMayBeClosed) {
    const pid_t child = fork();
    if (child == 0) {
        for (int fd = 0; fd < 3; ++fd) close(fd);
        const Outcome<> outcome = run_hook(shell("cat >$OUT"), "prestart", "state", {});
        _exit(outcome.is_ok() ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(out(), "state");
}

TEST_F(Hooks, SignalsUmaskAndGroupAreItsOwn) {
    const auto before = signal(SIGPIPE, SIG_IGN);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, nullptr);
    const mode_t mask = umask(077);
    succeed(
        shell("umask >$OUT; grep -E 'SigBlk|SigIgn' /proc/self/status >>$OUT; "
              "read -r _ _ _ _ group _ </proc/$$/stat; [ $group = $$ ] && echo own >>$OUT"));
    umask(mask);
    sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
    signal(SIGPIPE, before);
    EXPECT_EQ(out(), "0022\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nown\n");
}

TEST_F(Hooks, FailureNamesStagePathCodeAndLastLine) {
    EXPECT_EQ(failure(shell("echo first >&2; echo 'no such \x1b network' >&2; echo out; exit 3")),
              "hook prestart /bin/sh: exit code 3: no such ? network");
    EXPECT_EQ(failure(shell("echo only; exit 1")), "hook prestart /bin/sh: exit code 1: only");
    EXPECT_EQ(failure(shell("kill -9 $$")), "hook prestart /bin/sh: killed by signal Killed");
    EXPECT_EQ(failure({"/no/such/hook", {}, {}, {}}),
              "hook prestart /no/such/hook: executing it: No such file or directory");
    EXPECT_EQ(failure(shell("true"), {nullptr, {}, "/no/such/folder"}),
              "hook prestart /bin/sh: opening its working directory: No such file or directory");
}

TEST_F(Hooks, MuchOutputIsNoDeadlockAndIsBounded) {
    const std::string message = failure(shell("head -c 3000000 /dev/zero | tr '\\0' 'y'; exit 2"));
    EXPECT_LT(message.size(), 600u);
    EXPECT_TRUE(message.starts_with("hook prestart /bin/sh: exit code 2: yyy")) << message;
}

TEST_F(Hooks, TimeoutKillsTheWholeGroup) {
    HookSpec hook = shell("(trap '' TERM; sleep 600) & echo $! >$OUT; echo waiting >&2; wait");
    hook.timeout_s = 1;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(failure(hook), "hook prestart /bin/sh: not done after 1 seconds, killed with its process group: waiting");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    const pid_t left = std::stoi(out());
    for (int i = 0; i < 500 && kill(left, 0) == 0; ++i) {
        std::ifstream stat("/proc/" + std::to_string(left) + "/stat");
        std::string pid, name, state;
        stat >> pid >> name >> state;
        if (state == "Z" || state.empty()) return;  // its new parent has not reaped it yet
        usleep(10'000);
    }
    EXPECT_NE(kill(left, 0), 0);
}

TEST_F(Hooks, WhatItLeavesBehindIsNotWaitedFor) {
    const auto begin = std::chrono::steady_clock::now();
    succeed(shell("sleep 60 & echo $! >$OUT"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
    kill(std::stoi(out()), SIGKILL);
}

TEST_F(Hooks, StopAtTheFirstFailureOrRunThemAll) {
    const std::vector<HookSpec> hooks{shell("echo a >>$OUT"), shell("echo b >>$OUT; exit 4"), shell("echo c >>$OUT")};
    EXPECT_TRUE(run_hooks(hooks, "poststart", "{}", {}).is_error());
    EXPECT_EQ(out(), "a\nb\n");
    EXPECT_EQ(run_every_hook(hooks, "poststop", "{}", {}).size(), 1u);
    EXPECT_EQ(out(), "a\nb\na\nb\nc\n");
}

TEST_F(Hooks, RunsInTheFolderAndTheNamespacesOfTheContext) {
    const pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWUTS | CLONE_NEWNS) != 0) _exit(2);
        if (sethostname("hooked", 6) != 0) _exit(3);
        for (;;) pause();
    }
    usleep(200'000);
    const std::string path = "/proc/" + std::to_string(child) + "/ns/";
    const host::Fd uts(open((path + "uts").c_str(), O_RDONLY | O_CLOEXEC));
    const host::Fd mounts(open((path + "mnt").c_str(), O_RDONLY | O_CLOEXEC));
    if (kill(child, 0) == 0 && geteuid() == 0) {
        succeed(shell("uname -n >$OUT; pwd >>$OUT"), "{}", {nullptr, {uts.get(), mounts.get()}, folder_});
        EXPECT_EQ(out(), "hooked\n" + folder_ + "\n");
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace kvmsbx::oci
