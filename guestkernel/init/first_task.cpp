#include "guestkernel/init/first_task.hpp"

#include "guestkernel/fs/console.hpp"
#include "guestkernel/fs/file_systems.hpp"
#include "guestkernel/fs/proc/sysctl.hpp"
#include "guestkernel/init/app_spec.hpp"
#include "guestkernel/lib/assert.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/syscalls/dispatch.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/oom.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/uts.hpp"

namespace kvmsbx::init {
namespace {

constexpr int kExitOwnFailure = 125, kExitNotExecutable = 126, kExitNotFound = 127;

// Writes a line to the container's stderr, straight to the host.
void say(std::string_view line) {
    FixedText<1024> text;  // on a kernel stack, so in the direct map
    format_to(text, "kvmsbx: {}\n", line);
    ignore(platform::console_write(2, std::as_bytes(std::span(text.view()))), "who cannot be told has no use for it");
}

[[noreturn]] void fail(std::string_view what, std::string_view name, Errno error, std::string_view advice) {
    FixedText<768> line;
    const char* text = syscalls::error_text(static_cast<int>(error));
    format_to(line, "{} \"{}\": {}; {}", what, name, text ? std::string_view(text) : std::string_view("unknown error"),
              advice);
    say(line.view());
    platform::end_sandbox(kExitOwnFailure);
}

Result<> apply_credentials(task::Task& task, const AppSpec& spec) {
    const abi::AppCredentials& wanted = spec.credentials;
    auto credentials = TRY(make_ref<auth::Credentials>());
    credentials->ruid = credentials->euid = credentials->suid = credentials->fsuid = wanted.uid;
    credentials->rgid = credentials->egid = credentials->sgid = credentials->fsgid = wanted.gid;
    for (uint32_t gid : spec.groups) TRY(credentials->groups.push_back(gid));
    credentials->bounding.bits = wanted.bounding;
    credentials->effective.bits = wanted.effective;
    credentials->permitted.bits = wanted.permitted;
    credentials->inheritable.bits = wanted.inheritable;
    credentials->ambient.bits = wanted.ambient;
    credentials->no_new_privileges = wanted.no_new_privileges;
    task.credentials_ = credentials;
    task.fs().umask = wanted.umask & 0777;
    for (const abi::AppRlimit& limit : spec.limits)
        if (limit.resource < task::kRlimitCount) task.process().limits[limit.resource] = {limit.soft, limit.hard};
    return {};
}

void mount_everything(task::Task& task, const AppSpec& spec) {
    auto context = vfs::mount_root(spec.mounts[0]);
    if (context.is_error())
        fail("cannot mount the root from the gofer", "/", context.error(), "see --debug for the gofer's log");
    task.fs_ = context.release_value();
    for (size_t i = 1; i < spec.mounts.size(); ++i) {
        auto mounted = vfs::mount_spec(task.fs(), spec.mounts[i]);
        if (mounted.is_error())
            fail("cannot mount on", spec.mounts[i].destination, mounted.error(),
                 "check this entry of mounts in config.json");
    }
    for (std::string_view path : spec.masked_paths)
        if (auto masked = vfs::mask_path(task.fs(), path); masked.is_error())
            fail("cannot mask", path, masked.error(), "check linux.maskedPaths in config.json");
    for (std::string_view path : spec.readonly_paths)
        if (auto made = vfs::make_path_readonly(task.fs(), path); made.is_error())
            fail("cannot make read-only", path, made.error(), "check linux.readonlyPaths in config.json");
}

std::string_view sysctl_advice(Errno error) {
    switch (error) {
        case Errno::kNOENT: return "there is no such sysctl in a sandbox: remove it from config.json";
        case Errno::kACCES: return "its value is fixed in a sandbox: remove it from config.json";
        default: return "check its value in config.json";
    }
}

void set_sysctls(const AppSpec& spec) {
    for (const Sysctl& sysctl : spec.sysctls)
        if (auto set = fs::set_sysctl(sysctl.name, sysctl.value); set.is_error())
            fail("cannot set linux.sysctl", sysctl.name, set.error(), sysctl_advice(set.error()));
}

void enter_cwd(task::Task& task, std::string_view cwd) {
    auto path = vfs::walk(task.caller(), task.fs().root, cwd, vfs::Follow::kYes);
    if (path.is_ok() && path->inode().type() != vfs::kModeDirectory) path = Errno::kNOTDIR;
    if (path.is_error())
        fail("cannot change to process.cwd", cwd, path.error(),
             "make the directory in the image or change config.json");
    task.fs().cwd = path.release_value();
}

std::string_view search_path(const AppSpec& spec) {
    for (std::string_view variable : spec.environment)
        if (variable.starts_with("PATH=")) return variable.substr(5);
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

Result<task::ExecRequest> exec_request(task::Task& task, const AppSpec& spec, std::string_view directory,
                                       std::string_view program) {
    task::ExecRequest request;
    request.base = task.fs().cwd;
    TRY(request.path.append(directory));
    if (!directory.empty()) TRY(request.path.append('/'));
    TRY(request.path.append(program));
    for (std::string_view text : spec.arguments) TRY(request.arguments.push_back(TRY(String::create(text))));
    for (std::string_view text : spec.environment) TRY(request.environment.push_back(TRY(String::create(text))));
    return request;
}

// execvp(3)'s search: the first directory of PATH that has it; EACCES is remembered.
Result<> execute_found(task::Task& task, const AppSpec& spec) {
    const std::string_view program = spec.arguments[0];
    if (program.find('/') != std::string_view::npos)
        return task::execute(task, TRY(exec_request(task, spec, "", program)));
    Errno error = Errno::kNOENT;
    std::string_view rest = search_path(spec);
    for (;;) {
        const size_t colon = rest.find(':');
        const std::string_view directory =
            rest.substr(0, colon).empty() ? std::string_view(".") : rest.substr(0, colon);
        auto done = task::execute(task, TRY(exec_request(task, spec, directory, program)));
        if (done.is_ok()) return {};
        if (done.error() != Errno::kNOENT && done.error() != Errno::kNOTDIR) error = done.error();
        if (colon == std::string_view::npos) return error;
        rest.remove_prefix(colon + 1);
    }
}

// What to do where the host or the container has too little for the first process.
std::string_view advice_for(Errno error) {
    return error == Errno::kAGAIN ? "raise the host's limit of processes (pids.max of the cgroup, ulimit -u)"
                                  : "raise the container's memory limit, --memory, or the host's limits";
}

[[noreturn]] void cannot_execute(std::string_view program, Errno error) {
    if (error == Errno::kAGAIN || error == Errno::kNOMEM) fail("cannot run", program, error, advice_for(error));
    const bool missing = error == Errno::kNOENT || error == Errno::kNOTDIR;
    FixedText<768> line;
    const char* text = syscalls::error_text(static_cast<int>(error));
    format_to(line, "cannot run \"{}\": {}; {}", program,
              text ? std::string_view(text) : std::string_view("unknown error"),
              missing ? std::string_view("is it (and its interpreter) in the image, and PATH in process.env right?")
                      : std::string_view("it must be an executable x86-64 ELF file or a #! script"));
    say(line.view());
    platform::end_sandbox(missing ? kExitNotFound : kExitNotExecutable);
}

}  // namespace

void cannot_start(Errno error) { fail("cannot make", "the first process", error, advice_for(error)); }

void run_first_task(task::Task& task) {
    const abi::BootInfo& boot = platform::boot_info();
    // SAFETY: the VMM put the spec into RAM below ram_first_free.
    const std::span bytes(static_cast<const std::byte*>(platform::phys_to_virt(boot.app_spec_gpa)), boot.app_spec_size);
    auto spec = parse_app_spec(bytes);
    if (spec.is_error()) panic("the application spec is malformed");
    mm::set_memory_limit(spec->options.memory_limit);
    task::install_oom_killer();
    fs::register_file_systems(spec->options);
    if (auto named = task::set_hostname(spec->hostname); named.is_error())
        fail("cannot set the host name", spec->hostname, named.error(), "check hostname in config.json");
    if (auto named = task::set_domainname(spec->domainname); named.is_error())
        fail("cannot set the domain name", spec->domainname, named.error(), "check domainname in config.json");
    set_sysctls(*spec);
    mount_everything(task, *spec);
    if (apply_credentials(task, *spec).is_error()) panic("no memory for the first process");
    enter_cwd(task, spec->cwd);
    if (auto installed = fs::install_standard_files(task, spec->options); installed.is_error())
        fail("cannot open", "/dev/console", installed.error(), "see --debug");
    if (auto done = execute_found(task, *spec); done.is_error()) cannot_execute(spec->arguments[0], done.error());
}

void exit_sandbox(int status) {
    const int code = (status & 0x7f) ? 128 + (status & 0x7f) : status >> 8 & 0xff;
    // As the end of a PID namespace: all other processes are gone at once; what they wrote to shared file mappings is
    // not lost.
    fs::write_back_everything();
    platform::end_sandbox(code);
}

[[noreturn]] void crash(uint64_t kind) {
    volatile uint64_t address = 0x10;                              // volatile: the compiler is not to know
    if (kind != 0) *reinterpret_cast<volatile int*>(address) = 1;  // SAFETY: meant to fault
    panic("asked to by a debug event");
}

void handle_host_events() {
    while (const auto event = platform::next_host_event()) {
        switch (event->type) {
            case abi::HostEventType::kConsole: fs::console_host_event(event->arg); break;
            case abi::HostEventType::kSignal: fs::console_signal(static_cast<int>(event->arg)); break;
            case abi::HostEventType::kWindowSize:
                fs::console_window_size(static_cast<uint16_t>(event->arg >> 16), static_cast<uint16_t>(event->arg));
                break;
            case abi::HostEventType::kCrash: crash(event->arg);
            default: break;
        }
    }
}

}  // namespace kvmsbx::init
