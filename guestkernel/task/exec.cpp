// execve(2).
#include <cstring>

#include "guestkernel/auth/transitions.hpp"
#include "guestkernel/platform/user_context.hpp"
#include "guestkernel/sched/quota.hpp"
#include "guestkernel/task/fpu.hpp"
#include "guestkernel/task/futex.hpp"
#include "guestkernel/task/life.hpp"
#include "guestkernel/task/load.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/task/timers.hpp"
#include "guestkernel/task/trace.hpp"
#include "guestkernel/vfs/mount.hpp"
#include "guestkernel/vfs/xattr.hpp"

namespace kvmsbx::task {
namespace {

constexpr unsigned kMaxScripts = 5;       // as Linux's BINPRM recursion limit
constexpr size_t kHeadSize = 256;         // BINPRM_BUF_SIZE
constexpr uint64_t kMaxString = 131'072;  // MAX_ARG_STRLEN

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

// The line behind `#!`: interpreter and at most one argument.
struct ScriptLine {
    std::string_view interpreter, argument;
};
Result<ScriptLine> parse_script(std::string_view head) {
    const size_t end = head.find('\n');
    std::string_view line = head.substr(2, end == std::string_view::npos ? end : end - 2);
    if (end == std::string_view::npos) {
        // The line is cut: it will do only if the interpreter's name is complete.
        const std::string_view rest = trim(line);
        if (head.size() == kHeadSize && rest.find_first_of(" \t") == std::string_view::npos) return Errno::kNOEXEC;
    }
    line = trim(line);
    if (const size_t zero = line.find('\0'); zero != std::string_view::npos) line = line.substr(0, zero);
    const size_t space = line.find_first_of(" \t");
    ScriptLine result{line.substr(0, space),
                      space == std::string_view::npos ? std::string_view() : trim(line.substr(space))};
    if (result.interpreter.empty()) return Errno::kNOEXEC;
    return result;
}

Result<Vector<String>> script_arguments(const ScriptLine& line, std::string_view script, Vector<String> old) {
    Vector<String> arguments;
    TRY(arguments.push_back(TRY(String::create(line.interpreter))));
    if (!line.argument.empty()) TRY(arguments.push_back(TRY(String::create(line.argument))));
    TRY(arguments.push_back(TRY(String::create(script))));
    for (size_t i = 1; i < old.size(); ++i) TRY(arguments.push_back(std::move(old[i])));
    return arguments;
}

// The file to load in the end, after scripts; the request's arguments are rewritten on the way.
Result<RefPtr<vfs::File>> find_program(Task& task, ExecRequest& request) {
    String path = TRY(request.path.clone());
    vfs::Path base = request.base;
    for (unsigned depth = 0;; ++depth) {
        auto file = TRY(vfs::open_executable(task.caller(), base, path,
                                             request.follow_last ? vfs::Follow::kYes : vfs::Follow::kNo));
        std::byte head[kHeadSize];
        mm::IoBuffer buffer = mm::IoBuffer::kernel(head);
        const size_t size = TRY(file->read_at(buffer, 0));
        const std::string_view text(reinterpret_cast<const char*>(head), size);  // SAFETY: bytes as text
        if (!text.starts_with("#!")) return file;
        if (depth >= kMaxScripts) return Errno::kLOOP;
        const ScriptLine line = TRY(parse_script(text));
        request.arguments = TRY(script_arguments(line, path, std::move(request.arguments)));
        path = TRY(String::create(line.interpreter));
        base = task.fs().cwd;
        request.follow_last = true;
    }
}

Result<> check_size(Task& task, const ExecRequest& request) {
    uint64_t total = 0;
    for (const Vector<String>* strings : {&request.arguments, &request.environment})
        for (const String& text : *strings) {
            if (text.size() + 1 > kMaxString) return Errno::k2BIG;
            total += text.size() + 1 + sizeof(uint64_t);
        }
    uint64_t limit = task.limit(kRlimitStack) / 4;
    constexpr uint64_t kMost = 6 << 20, kLeast = 131'072;
    limit = limit > kMost ? kMost : limit < kLeast ? kLeast : limit;
    return total > limit ? Result<>(Errno::k2BIG) : Result<>();
}

// Set-id bits count unless the mount says nosuid.
uint32_t setid_bits(vfs::File& file, const vfs::Attributes& attributes) {
    if (!file.path() || (file.path()->mount().flags & vfs::kMsNosuid)) return 0;
    return attributes.mode & (vfs::kModeSetuid | vfs::kModeSetgid | 0010);
}

Result<auth::ExecCapabilities> file_capabilities(vfs::File& file) {
    auth::ExecCapabilities counted;
    if (!file.path() || (file.path()->mount().flags & vfs::kMsNosuid)) return counted;
    const Result<Vector<uint8_t>> value = file.inode()->get_xattr(vfs::kXattrCapability);
    vfs::FileCapabilities found;
    if (value.is_error()) return counted;
    if (!vfs::decode_capabilities(value.value().span(), found)) return Errno::kINVAL;
    counted = {found.permitted, found.inheritable, found.effective, true};
    return counted;
}

// The caller becomes the only thread, with the process's number.
Result<> end_other_threads(Task& task) {
    Process& process = task.process();
    for (Task& other : process.threads)
        if (&other != &task) {
            other.exiting = true;
            interrupt_task(other);
        }
    process.stop_queue.wake_all();
    TRY(process.thread_exited.wait([&] { return process.threads.size() == 1 || process.exiting; },
                                   sched::Interruptible::kNo));
    if (process.exiting) return Errno::kRESTARTNOINTR;
    if (task.tid != process.pid) {
        unregister_task(task);
        task.tid = process.pid;
        task.start_time = process.start_time;
        register_task(task);
    }
    return {};
}

void set_name(Task& task, std::string_view path) {
    const size_t slash = path.rfind('/');
    if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
    const size_t length = path.size() < sizeof task.name - 1 ? path.size() : sizeof task.name - 1;
    memset(task.name, 0, sizeof task.name);
    memcpy(task.name, path.data(), length);
}

void start_program(Task& task, const LoadedProgram& program) {
    task.regs = {};
    task.regs.rip = program.entry;
    task.regs.rsp = program.stack;
    task.regs.rflags = 0x202;
    task.regs.cs = abi::kUserCs, task.regs.ss = abi::kUserSs;
    task.regs.trap = abi::kTrapNone;
    platform::write_fs_base(0);
    platform::write_gs_base(0);
    reset_fpu(task);
}

}  // namespace

Result<> execute(Task& task, ExecRequest request) {
    TRY(check_size(task, request));
    String name = TRY(request.path.clone());
    if (request.arguments.empty()) TRY(request.arguments.push_back(String()));  // Linux 5.18: argv is never empty
    auto file = TRY(find_program(task, request));
    const vfs::Attributes attributes = TRY(file->inode()->attributes());
    auto [credentials, secure] = TRY(auth::for_exec(
        task.credentials(), trace_forbids_setid(task) ? 0 : setid_bits(*file, attributes), attributes.uid,
        attributes.gid, trace_forbids_setid(task) ? auth::ExecCapabilities{} : TRY(file_capabilities(*file))));
    LoadedProgram program =
        TRY(load_program(task, file, name, request.arguments, request.environment,
                         {credentials->ruid, credentials->euid, credentials->rgid, credentials->egid, secure}));
    constexpr uint32_t kRead = 4;
    const bool readable = vfs::check_permission(task.credentials(), *file->inode(), kRead).is_ok();
    auto files = TRY(task.files().clone());
    auto actions = TRY(task.process().actions->clone());
    const int32_t old_tid = task.tid;
    TRY(end_other_threads(task));
    // From here on nothing fails.
    if (task.files().reference_count() == 1) files = task.files_;  // its record locks live on
    futex_thread_exit(task);
    note_resident_size(task);
    task.space_ = program.space;
    release_vfork_parent(task);
    files->close_all_on_exec();
    task.files_ = files;
    actions->reset_for_exec();
    task.process().actions = actions;
    task.process().executed = true;
    task.process().exit_signal = kSigChld;
    drop_posix_timers(task.process());
    const auth::Credentials& caller = task.credentials();
    task.process().dumpable = caller.euid == caller.ruid && caller.egid == caller.rgid && readable;
    task.adopt(credentials);
    task.altstack_base = task.altstack_size = 0;
    task.altstack_flags = 2;
    task.clear_child_tid = 0;
    task.robust_list = 0;
    task.rseq_address = 0;
    set_name(task, name);
    if (!task.shares_quota) sched::share_quota(task);  // its first program: the way to it was the Sentry's
    start_program(task, program);
    trace_exec(task, old_tid);
    return {};
}

}  // namespace kvmsbx::task
