// Profiles compiled and then installed on this host for real, in a child.
#include "oci/seccomp_profile.hpp"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace kvmsbx::oci {
namespace {

SeccompRule rule(std::vector<std::string> names, const std::string& action, std::vector<SeccompArgument> args = {},
                 std::optional<uint32_t> errno_ret = {}) {
    return {std::move(names), action, errno_ret, std::move(args)};
}

SeccompProgram compiled(const SeccompSpec& profile) {
    Outcome<SeccompProgram> program = compile_seccomp(profile);
    EXPECT_TRUE(program.is_ok()) << program.error().message;
    return program.is_ok() ? program.release_value() : SeccompProgram{};
}
std::string refusal(const SeccompSpec& profile) {
    const Outcome<SeccompProgram> program = compile_seccomp(profile);
    return program.is_ok() ? "" : program.error().message;
}

#ifndef __SANITIZE_ADDRESS__
// What the body gives under the filter: 0 to 255; 1000 and the signal if it was killed.
template <typename Body>
int under(const SeccompProgram& program, const Body& body) {
    std::vector<sock_filter> code;
    for (const spec::BpfInstruction& step : program.instructions)
        code.push_back({step.code, step.jump_true, step.jump_false, step.k});
    const sock_fprog filter{static_cast<unsigned short>(code.size()), code.data()};
    const pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(254);
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, program.flags, &filter) != 0) _exit(255);
        syscall(SYS_exit_group, body());
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}
int error_of(long number, long a = 0, long b = 0, long c = 0) { return syscall(number, a, b, c) < 0 ? errno : 0; }

TEST(SeccompProfile, DefaultAndRules) {
    SeccompSpec profile;
    profile.default_action = "SCMP_ACT_ERRNO";
    profile.default_errno_ret = EDOM;
    profile.rules = {rule({"exit_group", "getpid", "no_such_call", "getcpu"}, "SCMP_ACT_ALLOW"),
                     rule({"getppid"}, "SCMP_ACT_ERRNO", {}, EXDEV), rule({"getuid"}, "SCMP_ACT_ERRNO")};
    const SeccompProgram program = compiled(profile);
    EXPECT_EQ(program.unknown_calls, std::vector<std::string>{"no_such_call"});
    EXPECT_EQ(under(program, [] { return error_of(SYS_getpid); }), 0);
    EXPECT_EQ(under(program, [] { return error_of(SYS_getgid); }), EDOM);
    EXPECT_EQ(under(program, [] { return error_of(SYS_getppid); }), EXDEV);
    EXPECT_EQ(under(program, [] { return error_of(SYS_getuid); }), EPERM);
    // Newer than the newest that is named (getcpu, 309): as on a kernel that does not have it.
    EXPECT_EQ(under(program, [] { return error_of(SYS_clone3); }), ENOSYS);
    EXPECT_EQ(under(program, [] { return error_of(SYS_setns); }), EDOM);
}

TEST(SeccompProfile, AllowByDefaultKnowsNoNewCalls) {
    SeccompSpec profile;
    profile.default_action = "SCMP_ACT_ALLOW";
    profile.rules = {rule({"getppid"}, "SCMP_ACT_KILL_PROCESS"), rule({"getpid"}, "SCMP_ACT_TRAP")};
    const SeccompProgram program = compiled(profile);
    EXPECT_EQ(under(program, [] { return error_of(SYS_getcwd) == ENOSYS; }), 0);
    EXPECT_EQ(under(program, [] { return error_of(SYS_getppid); }), 1000 + SIGSYS);
    EXPECT_EQ(under(program, [] { return error_of(SYS_getpid); }), 1000 + SIGSYS);
}

TEST(SeccompProfile, ComparesArguments) {
    SeccompSpec profile;
    profile.default_action = "SCMP_ACT_ALLOW";
    const auto dup3_with = [&](std::vector<SeccompArgument> args) {
        profile.rules = {rule({"dup3"}, "SCMP_ACT_ERRNO", std::move(args), EXDEV)};
        return compiled(profile);
    };
    const auto calls = [](const SeccompProgram& program, long a, long b) {
        return under(program, [&] { return error_of(SYS_dup3, a, b) == EXDEV ? 1 : 0; });
    };
    const SeccompProgram both = dup3_with({{0, 900, 0, "SCMP_CMP_EQ"}, {1, 901, 0, "SCMP_CMP_GE"}});
    EXPECT_EQ(calls(both, 900, 902), 1);
    EXPECT_EQ(calls(both, 900, 900), 0);
    EXPECT_EQ(calls(both, 899, 902), 0);
    // Twice the same argument: one of the two will do.
    const SeccompProgram either = dup3_with({{0, 900, 0, "SCMP_CMP_EQ"}, {0, 950, 0, "SCMP_CMP_EQ"}});
    EXPECT_EQ(calls(either, 900, 0), 1);
    EXPECT_EQ(calls(either, 950, 0), 1);
    EXPECT_EQ(calls(either, 901, 0), 0);
    const SeccompProgram masked = dup3_with({{0, 0xff0, 0x900, "SCMP_CMP_MASKED_EQ"}});
    EXPECT_EQ(calls(masked, 0x90f, 0), 1);
    EXPECT_EQ(calls(masked, 0x910, 0), 0);
    EXPECT_EQ(calls(dup3_with({{0, 900, 0, "SCMP_CMP_NE"}}), 900, 0), 0);
    EXPECT_EQ(calls(dup3_with({{0, 900, 0, "SCMP_CMP_LT"}}), 899, 0), 1);
    EXPECT_EQ(calls(dup3_with({{0, 900, 0, "SCMP_CMP_LE"}}), 900, 0), 1);
    EXPECT_EQ(calls(dup3_with({{0, 900, 0, "SCMP_CMP_GT"}}), 900, 0), 0);
}
#endif

TEST(SeccompProfile, FlagsAndArchitectures) {
    SeccompSpec profile;
    profile.default_action = "SCMP_ACT_ERRNO";
    profile.flags = {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"};
    profile.architectures = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"};
    profile.rules = {rule({"read", "socketcall"}, "SCMP_ACT_ALLOW")};
    EXPECT_EQ(compiled(profile).flags, static_cast<uint32_t>(SECCOMP_FILTER_FLAG_LOG));
    profile.architectures.emplace_back("SCMP_ARCH_PDP11");
    EXPECT_EQ(refusal(profile),
              "linux.seccomp.architectures: \"SCMP_ARCH_PDP11\" is no architecture that kvmsbx knows");
    profile.architectures.clear();
    profile.flags = {"SECCOMP_FILTER_FLAG_NEW_LISTENER"};
    EXPECT_NE(refusal(profile), "");
}

TEST(SeccompProfile, RefusesWhatItCannotDo) {
    SeccompSpec profile;
    profile.default_action = "SCMP_ACT_NOTIFY";
    EXPECT_TRUE(refusal(profile).starts_with("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is not supported"))
        << refusal(profile);
    profile.default_action = "SCMP_ACT_ALLOW";
    profile.rules = {rule({"read"}, "SCMP_ACT_NOTIFY")};
    EXPECT_TRUE(refusal(profile).starts_with("linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY")) << refusal(profile);
    profile.rules = {rule({"read"}, "SCMP_ACT_SHRUG")};
    EXPECT_EQ(refusal(profile), "linux.seccomp.syscalls[0].action: \"SCMP_ACT_SHRUG\" is no action that kvmsbx knows");
    profile.rules = {rule({"read"}, "SCMP_ACT_ALLOW", {}, 5)};
    EXPECT_TRUE(refusal(profile).starts_with("linux.seccomp.syscalls[0].action: SCMP_ACT_ALLOW has no errno"))
        << refusal(profile);
    profile.rules = {rule({"read"}, "SCMP_ACT_LOG", {{0, 1, 0, "SCMP_CMP_XX"}})};
    EXPECT_EQ(refusal(profile),
              "linux.seccomp.syscalls[0].args[].op: \"SCMP_CMP_XX\" is no operator that kvmsbx knows");
    profile.rules.clear();
    profile.listener_path = "/run/l";
    EXPECT_TRUE(refusal(profile).starts_with("linux.seccomp.listenerPath: ")) << refusal(profile);
}

TEST(SeccompProfile, IsBounded) {
    SeccompSpec profile;
    profile.default_action = "SCMP_ACT_ALLOW";
    for (uint64_t i = 0; i < 600; ++i)
        profile.rules.push_back(rule({"read"}, "SCMP_ACT_LOG", {{0, i, 0, "SCMP_CMP_EQ"}}));
    EXPECT_NE(refusal(profile).find("at most 8192 calls and 512 conditions"), std::string::npos) << refusal(profile);
    profile.rules = {rule(std::vector<std::string>(9000, "read"), "SCMP_ACT_LOG")};
    EXPECT_NE(refusal(profile).find("too large"), std::string::npos) << refusal(profile);
}

TEST(SeccompProfile, EveryActionCompiles) {
    for (const std::string_view action : seccomp_actions()) {
        SeccompSpec profile;
        profile.default_action = action;
        profile.rules = {rule({"read"}, action == "SCMP_ACT_ALLOW" ? "SCMP_ACT_LOG" : "SCMP_ACT_ALLOW"),
                         rule({"write"}, std::string(action))};
        EXPECT_FALSE(compiled(profile).instructions.empty()) << action;
    }
}

}  // namespace
}  // namespace kvmsbx::oci
