#include "oci/container/hooks.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "common/host/fd.hpp"

namespace kvmsbx::oci {
namespace {

using Clock = std::chrono::steady_clock;

// What the child says when it does not get to exec().
struct StartError {
    int error;
    char step[124];
};

struct Pipe {
    host::Fd read_end, write_end;
};

// All above 2, so that the child can put what it needs on 0, 1 and 2.
Outcome<host::Fd> lifted(host::Fd fd) {
    if (!fd.is_open() || fd.get() > 2) return fd;
    host::Fd high(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    if (!high.is_open()) return errno_failure("duplicating a descriptor", errno);
    return high;
}

Outcome<Pipe> make_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return errno_failure("making a pipe", errno);
    host::Fd first(ends[0]), second(ends[1]);
    Pipe pipe{TRY(lifted(std::move(first))), TRY(lifted(std::move(second)))};
    fcntl(pipe.read_end.get(), F_SETFL, O_NONBLOCK);
    return pipe;
}

Outcome<host::Fd> make_input(const std::string& text) {
    host::Fd file = TRY(lifted(host::Fd(memfd_create("state.json", MFD_CLOEXEC))));
    if (!file.is_open() || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return errno_failure("keeping the state", errno);
    lseek(file.get(), 0, SEEK_SET);
    return file;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
    std::vector<char*> list;
    for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
    list.push_back(nullptr);
    return list;
}

void reset_signals() {
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int number = 1; number <= SIGRTMAX; ++number) sigaction(number, &standard, nullptr);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
}

struct Streams {
    host::Fd input;
    Pipe output, errors, start;  // start: a StartError, or the end of file at exec()
};

// The child's side of fork().
class HookProcess {
  public:
    HookProcess(const HookSpec& hook, const HookContext& context, const Streams& streams)
        : hook_(hook), context_(context), streams_(streams) {}

    [[noreturn]] void run() {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (context_.cgroup) {
            const Outcome<> entered = context_.cgroup->enter();
            if (entered.is_error()) fail(entered.error().message.c_str(), 0);
        }
        enter_place();
        umask(022);
        arrange_descriptors();
        reset_signals();
        const std::vector<std::string> only_path{hook_.path};
        const std::vector<char*> argv = pointers(hook_.args.empty() ? only_path : hook_.args),
                                 env = pointers(hook_.env);
        execve(hook_.path.c_str(), argv.data(), env.data());
        fail("executing it", errno);
    }

  private:
    [[noreturn]] void fail(const char* step, int error) {
        StartError message{error, {}};
        strncpy(message.step, step, sizeof message.step - 1);
        if (write(streams_.start.write_end.get(), &message, sizeof message) < 0) _exit(126);
        _exit(127);
    }
    // The folder is opened before the namespaces: a mount namespace takes the working directory to its root.
    void enter_place() {
        const bool has_folder = !context_.folder.empty();
        const host::Fd folder(has_folder ? open(context_.folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC) : -1);
        if (has_folder && !folder.is_open()) fail("opening its working directory", errno);
        for (const int fd : context_.namespaces)
            if (setns(fd, 0) != 0) fail("joining the container's namespaces", errno);
        if (has_folder && fchdir(folder.get()) != 0) fail("entering its working directory", errno);
    }
    void arrange_descriptors() {
        const std::array<int, 3> sources{streams_.input.get(), streams_.output.write_end.get(),
                                         streams_.errors.write_end.get()};
        for (int target = 0; target < 3; ++target)
            if (dup2(sources[static_cast<size_t>(target)], target) < 0) fail("arranging descriptors", errno);
        if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC) != 0) fail("closing descriptors", errno);
    }

    const HookSpec& hook_;
    const HookContext& context_;
    const Streams& streams_;
};

// The end of what a stream brought.
class Tail {
  public:
    explicit Tail(const host::Fd& fd) : fd_(fd) {}

    // Reads what is there. False at the end of the stream.
    bool drain() {
        char buffer[4096];
        for (;;) {
            const ssize_t n = read(fd_.get(), buffer, sizeof buffer);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return n < 0 && errno == EAGAIN;
            text_.append(buffer, static_cast<size_t>(n));
            if (text_.size() > kKept) text_.erase(0, text_.size() - kKept);
        }
    }
    int fd() const { return fd_.get(); }
    // The last line that is not empty, fit to be printed.
    std::string last_line() const {
        const size_t end = text_.find_last_not_of(" \t\r\n");
        if (end == std::string::npos) return "";
        const size_t newline = text_.find_last_of('\n', end);
        const size_t begin = newline == std::string::npos ? 0 : newline + 1;
        std::string line = text_.substr(begin, end + 1 - begin);
        std::replace_if(
            line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
        return line.substr(0, 500);
    }

  private:
    static constexpr size_t kKept = 4096;
    const host::Fd& fd_;
    std::string text_;
};

int milliseconds_left(const HookSpec& hook, Clock::time_point begin) {
    if (!hook.timeout_s) return -1;
    const auto left = begin + std::chrono::seconds(*hook.timeout_s) - Clock::now();
    return static_cast<int>(std::max<int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(left).count()));
}

enum class Waited { kEnded, kTimedOut };

// Takes the output until the hook itself ends. What it leaves behind may hold the streams longer; nobody waits for that.
Waited wait_for_end(const HookSpec& hook, const host::Fd& pidfd, Tail& output, Tail& errors) {
    const Clock::time_point begin = Clock::now();
    pollfd polled[] = {{pidfd.get(), POLLIN, 0}, {output.fd(), POLLIN, 0}, {errors.fd(), POLLIN, 0}};
    for (;;) {
        const int ready = poll(polled, 3, milliseconds_left(hook, begin));
        if (ready < 0 && errno != EINTR) return Waited::kTimedOut;
        if (ready == 0) return Waited::kTimedOut;
        if (ready > 0 && polled[1].revents && !output.drain()) polled[1].fd = -1;
        if (ready > 0 && polled[2].revents && !errors.drain()) polled[2].fd = -1;
        if (ready > 0 && polled[0].revents) break;
    }
    output.drain();
    errors.drain();
    return Waited::kEnded;
}

std::string describe_end(int status) {
    if (WIFSIGNALED(status)) return std::string("killed by signal ") + strsignal(WTERMSIG(status));
    return "exit code " + std::to_string(WEXITSTATUS(status));
}

Failure hook_failure(const HookSpec& hook, const std::string& stage, const std::string& problem,
                     const std::string& output) {
    return Failure{"hook " + stage + " " + hook.path + ": " + problem + (output.empty() ? "" : ": " + output)};
}

// The wait status. A child that somebody else has reaped counts as killed: nobody knows how it ended.
int reap(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return SIGKILL;
    return status;
}

Outcome<> watch(const HookSpec& hook, const std::string& stage, pid_t pid, Streams& streams) {
    const host::Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    Tail output(streams.output.read_end), errors(streams.errors.read_end);
    const Waited waited = pidfd.is_open() ? wait_for_end(hook, pidfd, output, errors) : Waited::kTimedOut;
    if (waited == Waited::kTimedOut) kill(-pid, SIGKILL);
    const int status = reap(pid);
    const std::string said = errors.last_line().empty() ? output.last_line() : errors.last_line();
    StartError start{};
    if (read(streams.start.read_end.get(), &start, sizeof start) == sizeof start)
        return hook_failure(hook, stage, start.step, start.error ? std::strerror(start.error) : "");
    if (waited == Waited::kTimedOut)
        return hook_failure(
            hook, stage,
            "not done after " + std::to_string(hook.timeout_s.value_or(0)) + " seconds, killed with its process group",
            said);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return hook_failure(hook, stage, describe_end(status), said);
}

}  // namespace

Outcome<> run_hook(const HookSpec& hook, const std::string& stage, const std::string& state_json,
                   const HookContext& context) {
    Streams streams;
    streams.input = TRY(make_input(state_json));
    streams.output = TRY(make_pipe());
    streams.errors = TRY(make_pipe());
    streams.start = TRY(make_pipe());
    const pid_t pid = fork();
    if (pid < 0) return errno_failure("starting hook " + stage + " " + hook.path, errno);
    if (pid == 0) HookProcess(hook, context, streams).run();
    setpgid(pid, pid);  // both sides do it: whoever comes first
    streams.input.reset();
    for (Pipe* pipe : {&streams.output, &streams.errors, &streams.start}) pipe->write_end.reset();
    return watch(hook, stage, pid, streams);
}

Outcome<> run_hooks(const std::vector<HookSpec>& hooks, const std::string& stage, const std::string& state_json,
                    const HookContext& context) {
    for (const HookSpec& hook : hooks) TRY(run_hook(hook, stage, state_json, context));
    return {};
}

std::vector<Failure> run_every_hook(const std::vector<HookSpec>& hooks, const std::string& stage,
                                    const std::string& state_json, const HookContext& context) {
    std::vector<Failure> failures;
    for (const HookSpec& hook : hooks) {
        Outcome<> outcome = run_hook(hook, stage, state_json, context);
        if (outcome.is_error()) failures.push_back(outcome.error());
    }
    return failures;
}

}  // namespace kvmsbx::oci
