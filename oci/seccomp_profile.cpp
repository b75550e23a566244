#include "oci/seccomp_profile.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>

#include "common/host/fd.hpp"

namespace kvmsbx::oci {
namespace {

constexpr std::string_view kActions[] = {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO",       "SCMP_ACT_KILL",
                                         "SCMP_ACT_LOG",   "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS",
                                         "SCMP_ACT_TRAP",  "SCMP_ACT_TRACE"};
constexpr std::string_view kOperators[] = {"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",       "SCMP_CMP_EQ",
                                           "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};
// Of x86, the ones that a call can be of. An application of the sandbox makes none of the 32-bit ones.
constexpr std::string_view kArchitectures[] = {"SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"};
// Others that profiles name for other machines; they say nothing about this one.
constexpr std::string_view kForeign[] = {
    "SCMP_ARCH_ARM",     "SCMP_ARCH_AARCH64",     "SCMP_ARCH_MIPS",        "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64",    "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390",        "SCMP_ARCH_S390X",       "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",        "SCMP_ARCH_SH",     "SCMP_ARCH_SHEB"};
constexpr std::string_view kFlags[] = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                                       "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
// TSYNC has nobody to synchronise when the first process starts; WAIT_KILLABLE_RECV is for listeners.
constexpr uint32_t kFlagBits[] = {0, SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0};

template <size_t N>
std::optional<size_t> index_of(const std::string_view (&names)[N], std::string_view name) {
    const auto* found = std::find(std::begin(names), std::end(names), name);
    if (found == std::end(names)) return std::nullopt;
    return static_cast<size_t>(found - std::begin(names));
}

Failure unknown(const std::string& field, const std::string& name, const char* what) {
    return Failure{"linux.seccomp." + field + ": \"" + name + "\" is no " + what + " that kvmsbx knows"};
}

// The number that libseccomp has for the action.
Outcome<uint32_t> action_of(const std::string& field, const std::string& name, std::optional<uint32_t> errno_ret) {
    if (name == "SCMP_ACT_NOTIFY")
        return Failure{"linux.seccomp." + field +
                       ": SCMP_ACT_NOTIFY is not supported: a sandbox's system calls never reach the host, where a "
                       "listener could act on them; use another action"};
    const std::optional<size_t> index = index_of(kActions, name);
    if (!index) return unknown(field, name, "action");
    const bool takes_errno = name == "SCMP_ACT_ERRNO" || name == "SCMP_ACT_TRACE";
    if (errno_ret && !takes_errno)
        return Failure{"linux.seccomp." + field + ": " + name +
                       " has no errno; errnoRet goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE"};
    const uint32_t data = errno_ret.value_or(EPERM);
    const std::array<uint32_t, std::size(kActions)> numbers{SCMP_ACT_ALLOW, SCMP_ACT_ERRNO(data), SCMP_ACT_KILL,
                                                            SCMP_ACT_LOG,   SCMP_ACT_KILL_THREAD, SCMP_ACT_KILL_PROCESS,
                                                            SCMP_ACT_TRAP,  SCMP_ACT_TRACE(data)};
    return numbers[*index];
}

Outcome<scmp_arg_cmp> comparison_of(const std::string& field, const SeccompArgument& argument) {
    constexpr scmp_compare kNumbers[] = {SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE,       SCMP_CMP_EQ,
                                         SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ};
    const std::optional<size_t> index = index_of(kOperators, argument.op);
    if (!index) return unknown(field + ".args[].op", argument.op, "operator");
    return scmp_arg_cmp{argument.index, kNumbers[*index], argument.value, argument.value_two};
}

class Compiler {
  public:
    explicit Compiler(const SeccompSpec& profile) : profile_(profile), filter_(nullptr, seccomp_release) {}

    Outcome<SeccompProgram> run() {
        if (!profile_.listener_path.empty())
            return Failure{
                "linux.seccomp.listenerPath: listeners are not supported: a sandbox's system calls never "
                "reach the host; remove it"};
        default_ = TRY(action_of("defaultAction", profile_.default_action, profile_.default_errno_ret));
        filter_.reset(seccomp_init(default_));
        if (!filter_) return Failure{"linux.seccomp.defaultAction: the host's libseccomp refuses it"};
        TRY(add_flags());
        TRY(add_architectures());
        for (size_t i = 0; i < profile_.rules.size(); ++i)
            TRY(add_rule("syscalls[" + std::to_string(i) + "]", profile_.rules[i]));
        TRY(export_program());
        return std::move(program_);
    }

  private:
    Outcome<> checked(int result, const std::string& field) {
        if (result >= 0) return {};
        return errno_failure("linux.seccomp." + field + ": libseccomp refuses it", -result);
    }
    Outcome<> add_flags() {
        // A tree instead of a chain of comparisons: some ten instructions a call instead of hundreds.
        TRY(checked(seccomp_attr_set(filter_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "flags"));
        for (const std::string& flag : profile_.flags) {
            const std::optional<size_t> index = index_of(kFlags, flag);
            if (!index) return unknown("flags", flag, "flag");
            program_.flags |= kFlagBits[*index];
        }
        return {};
    }
    Outcome<> add_architectures() {
        for (const std::string& name : profile_.architectures) {
            if (!index_of(kArchitectures, name) && !index_of(kForeign, name))
                return unknown("architectures", name, "architecture");
            if (name != "SCMP_ARCH_X32" || seccomp_arch_exist(filter_.get(), SCMP_ARCH_X32) == 0) continue;
            TRY(checked(seccomp_arch_add(filter_.get(), SCMP_ARCH_X32), "architectures"));
        }
        return {};
    }
    Outcome<> add_rule(const std::string& field, const SeccompRule& rule) {
        const uint32_t action = TRY(action_of(field + ".action", rule.action, rule.errno_ret));
        std::vector<scmp_arg_cmp> comparisons;
        for (const SeccompArgument& argument : rule.args) comparisons.push_back(TRY(comparison_of(field, argument)));
        for (const std::string& name : rule.names) TRY(add_call(field, name, action, comparisons));
        return {};
    }
    Outcome<> add_call(const std::string& field, const std::string& name, uint32_t action,
                       const std::vector<scmp_arg_cmp>& comparisons) {
        const int number = seccomp_syscall_resolve_name(name.c_str());
        if (number == __NR_SCMP_ERROR) {
            program_.unknown_calls.push_back(name);
            return {};
        }
        last_call_ = std::max(last_call_, number);
        TRY(count(field, comparisons.size()));
        if (action == default_) return {};
        // Two conditions on one argument are alternatives, as runc has it; libseccomp knows none in one rule.
        if (!has_twice(comparisons)) return add(field, number, action, comparisons);
        for (const scmp_arg_cmp& comparison : comparisons) TRY(add(field, number, action, {comparison}));
        return {};
    }
    // libseccomp's time grows with the cube of the conditions: real profiles have some fifty.
    Outcome<> count(const std::string& field, size_t conditions) {
        constexpr size_t kMaxCalls = 8192, kMaxConditions = 512;
        ++calls_;
        conditions_ += conditions;
        if (calls_ <= kMaxCalls && conditions_ <= kMaxConditions) return {};
        return Failure{"linux.seccomp." + field + ": the profile is too large; at most " + std::to_string(kMaxCalls) +
                       " calls and " + std::to_string(kMaxConditions) + " conditions on arguments are allowed"};
    }
    Outcome<> add(const std::string& field, int number, uint32_t action, const std::vector<scmp_arg_cmp>& comparisons) {
        const int result = seccomp_rule_add_array(filter_.get(), action, number,
                                                  static_cast<unsigned>(comparisons.size()), comparisons.data());
        return result == -EEXIST ? Outcome<>() : checked(result, field);
    }
    static bool has_twice(const std::vector<scmp_arg_cmp>& comparisons) {
        std::array<unsigned, 6> count{};
        return std::any_of(comparisons.begin(), comparisons.end(),
                           [&](const scmp_arg_cmp& c) { return ++count[c.arg] > 1; });
    }

    bool refuses_by_default() const {
        return default_ != SCMP_ACT_ALLOW && default_ != SCMP_ACT_LOG && default_ != SCMP_ACT_ERRNO(ENOSYS);
    }
    void add_unknown_call_rule() {
        constexpr auto kX32Bit = 0x40000000u;
        const auto last = static_cast<uint32_t>(last_call_);
        const auto put = [&](uint16_t code, uint8_t jump_true, uint8_t jump_false, uint32_t k) {
            program_.instructions.push_back({code, jump_true, jump_false, k});
        };
        put(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, arch));
        put(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, AUDIT_ARCH_X86_64);
        put(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr));
        put(BPF_JMP | BPF_JGE | BPF_K, 2, 0, kX32Bit);
        put(BPF_JMP | BPF_JGT | BPF_K, 0, 1, last);
        put(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS);
    }
    Outcome<> export_program() {
        const host::Fd file(memfd_create("seccomp", MFD_CLOEXEC));
        if (!file.is_open()) return errno_failure("linux.seccomp: cannot make a file in memory", errno);
        TRY(checked(seccomp_export_bpf(filter_.get(), file.get()), "syscalls"));
        std::vector<sock_filter> code(static_cast<size_t>(lseek(file.get(), 0, SEEK_END)) / sizeof(sock_filter));
        const size_t bytes = code.size() * sizeof(sock_filter);
        if (pread(file.get(), code.data(), bytes, 0) != static_cast<ssize_t>(bytes))
            return errno_failure("linux.seccomp: cannot read the program", errno);
        if (refuses_by_default() && last_call_ >= 0) add_unknown_call_rule();
        for (const sock_filter& step : code) program_.instructions.push_back({step.code, step.jt, step.jf, step.k});
        if (program_.instructions.size() <= BPF_MAXINSNS) return {};
        return Failure{"linux.seccomp: the profile comes to " + std::to_string(program_.instructions.size()) +
                       " instructions; Linux allows " + std::to_string(BPF_MAXINSNS)};
    }

    const SeccompSpec& profile_;
    std::unique_ptr<void, decltype(&seccomp_release)> filter_;
    uint32_t default_ = 0;
    int last_call_ = -1;  // the highest number that the profile names
    size_t calls_ = 0, conditions_ = 0;
    SeccompProgram program_;
};

}  // namespace

Outcome<SeccompProgram> compile_seccomp(const SeccompSpec& profile) { return Compiler(profile).run(); }

std::span<const std::string_view> seccomp_actions() { return kActions; }
std::span<const std::string_view> seccomp_operators() { return kOperators; }
std::span<const std::string_view> seccomp_architectures() { return kArchitectures; }
std::span<const std::string_view> seccomp_flags() { return kFlags; }

}  // namespace kvmsbx::oci
