#include "guestkernel/control/start_process.hpp"

#include "guestkernel/control/environment.hpp"
#include "guestkernel/control/program.hpp"
#include "guestkernel/control/scheduling.hpp"
#include "guestkernel/task/seccomp.hpp"
#include "guestkernel/task/timers.hpp"

namespace kvmsbx::control {
namespace {

Result<> apply_credentials(task::Task& task, const ProcessSpec& spec) {
    auto credentials = TRY(make_ref<auth::Credentials>());
    credentials->ruid = credentials->euid = credentials->suid = credentials->fsuid = spec.uid;
    credentials->rgid = credentials->egid = credentials->sgid = credentials->fsgid = spec.gid;
    for (uint32_t gid : spec.groups) TRY(credentials->groups.push_back(gid));
    credentials->bounding.bits = spec.capabilities.bounding;
    credentials->effective.bits = spec.capabilities.effective;
    credentials->permitted.bits = spec.capabilities.permitted;
    credentials->inheritable.bits = spec.capabilities.inheritable;
    credentials->ambient.bits = spec.capabilities.ambient;
    credentials->no_new_privileges = spec.no_new_privileges;
    task.credentials_ = credentials;
    task.fs().umask = spec.umask & 0777;
    return {};
}

Result<> apply_limits(task::Process& process, const ProcessSpec& spec) {
    for (const spec::Rlimit& limit : spec.rlimits) {
        if (limit.resource >= task::kRlimitCount || limit.soft > limit.hard) return Errno::kINVAL;
        process.limits[limit.resource] = {limit.soft, limit.hard};
        if (limit.resource == task::kRlimitCpu && limit.soft != task::kRlimInfinity)
            TRY(task::ProcessTimers::of(process))->cpu_limit.watch();
    }
    return {};
}

// What a process has besides: all that its program inherits and that no check before the program's start may meet.
Result<> apply_attributes(task::Task& task, const ProcessSpec& spec) {
    constexpr int kLeast = -1000, kMost = 1000;
    if (spec.oom_score_adj < kLeast || spec.oom_score_adj > kMost) return Errno::kINVAL;
    task.process().oom_score_adj = static_cast<int16_t>(spec.oom_score_adj);
    return {};
}

Result<> install_profile(task::Task& task, const ProcessSpec& spec) {
    if (spec.seccomp.empty()) return {};
    Vector<task::bpf::Instruction> program;
    for (const spec::BpfInstruction& one : spec.seccomp)
        TRY(program.push_back({one.code, one.jump_true, one.jump_false, one.k}));
    return task::install_profile(task, std::move(program), spec.seccomp_flags);
}

// With the Sentry's own rights, as runc does it before it becomes the user.
Result<> enter_cwd(task::Task& task, std::string_view cwd, Cwd rule) {
    auto root = TRY(auth::kernel_credentials());
    const vfs::Caller caller{task.fs(), *root};
    vfs::Path path = rule == Cwd::kIsMade ? TRY(vfs::obtain_directory(caller, cwd))
                                          : TRY(vfs::walk(caller, task.fs().root, cwd, vfs::Follow::kYes));
    if (path.inode().type() != vfs::kModeDirectory) return Errno::kNOTDIR;
    task.fs().cwd = std::move(path);
    return {};
}

Result<> copy_arguments(const ProcessSpec& spec, task::ExecRequest& request) {
    for (std::string_view text : spec.args) TRY(request.arguments.push_back(TRY(String::create(text))));
    return {};
}

}  // namespace

std::string_view advice_for(Errno error) {
    return error == Errno::kAGAIN
               ? "raise the container's limit of pids, or the host's of processes (pids.max, ulimit -u)"
               : "raise the container's memory limit, --memory, or the host's limits";
}

bool prepare_process(task::Task& task, const ProcessSpec& spec, fs::StandardFiles& files, Cwd cwd,
                     task::ExecRequest& request, Failure& failure) {
    if (auto entered = enter_cwd(task, spec.cwd, cwd); entered.is_error())
        return fail(failure, "cannot change to process.cwd", spec.cwd, entered.error(),
                    "make the directory in the image or change config.json");
    if (auto applied = apply_limits(task.process(), spec); applied.is_error())
        return fail(failure, "cannot set", "process.rlimits", applied.error(), "check them in config.json");
    if (auto applied = apply_credentials(task, spec); applied.is_error())
        return fail(failure, "cannot make", "the process", applied.error(), advice_for(applied.error()));
    if (auto installed = fs::install_standard_files(task, files); installed.is_error())
        return fail(failure, "cannot open", "the standard streams", installed.error(), "see --debug");
    if (auto copied = copy_arguments(spec, request); copied.is_error())
        return fail(failure, "cannot take", "process.args", copied.error(), advice_for(copied.error()));
    return make_environment(task, spec, request, failure) && find_program(task, request, failure);
}

bool execute_process(task::Task& task, const ProcessSpec& spec, task::ExecRequest request, Failure& failure) {
    if (auto applied = apply_attributes(task, spec); applied.is_error())
        return fail(failure, "cannot apply", "process", applied.error(), "check oomScoreAdj in config.json");
    if (!apply_scheduling(task, spec, failure)) return false;
    if (auto installed = install_profile(task, spec); installed.is_error())
        return fail(failure, "cannot apply", "linux.seccomp", installed.error(), "check the profile and its flags");
    if (auto allowed = task::seccomp_allows_program(task); allowed.is_error())
        return fail(failure, "cannot run", spec.args.front(), allowed.error(), "linux.seccomp must allow execve");
    const auto done = task::execute(task, std::move(request));
    return done.is_ok() || cannot_execute(spec.args.front(), done.error(), failure);
}

}  // namespace kvmsbx::control
