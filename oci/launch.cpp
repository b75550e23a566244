#include "oci/launch.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <span>

#include "common/abi/channel.hpp"
#include "oci/capabilities.hpp"

namespace kvmsbx::oci {
namespace {

struct Pair {
    host::Fd ours, theirs;
};

Outcome<host::Fd> checked(int fd, const char* what) {
    if (fd < 0) return errno_failure(std::string("cannot make ") + what, errno);
    return host::Fd(fd);
}

// Sealed, so that neither side can shrink the region under the other one's mapping.
Outcome<host::Fd> make_channel() {
    host::Fd fd = TRY(checked(memfd_create("kvmsbx-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING), "the channel's memfd"));
    if (ftruncate(fd.get(), static_cast<off_t>(abi::kChannelSize)) < 0 ||
        fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        return errno_failure("cannot size the channel's memfd", errno);
    }
    return fd;
}

// A file in memory that starts with the bytes, positioned at its start.
Outcome<host::Fd> make_memory_file(const char* name, std::span<const std::byte> bytes) {
    host::Fd fd = TRY(checked(memfd_create(name, MFD_CLOEXEC), name));
    while (!bytes.empty()) {
        const ssize_t n = write(fd.get(), bytes.data(), bytes.size());
        if (n <= 0) return errno_failure(std::string("cannot write ") + name, errno);
        bytes = bytes.subspan(static_cast<size_t>(n));
    }
    lseek(fd.get(), 0, SEEK_SET);
    return fd;
}

Outcome<Pair> make_pipe(int our_end) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return errno_failure("cannot make a pipe", errno);
    Pair pair{host::Fd(ends[our_end]), host::Fd(ends[1 - our_end])};
    fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
    return pair;
}

Outcome<Pair> make_control() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return errno_failure("cannot make a socket pair", errno);
    Pair pair{host::Fd(ends[0]), host::Fd(ends[1])};
    fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
    return pair;
}

struct Channel {
    host::Fd memory, doorbell, completion;
    std::string flag_value() const {
        return std::to_string(memory.get()) + "," + std::to_string(doorbell.get()) + "," +
               std::to_string(completion.get());
    }
};

Outcome<Channel> make_channel_fds() {
    Channel channel;
    channel.memory = TRY(make_channel());
    channel.doorbell = TRY(checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "an eventfd"));
    channel.completion = TRY(checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "an eventfd"));
    return channel;
}

// Flag and descriptor at once, so that no descriptor is named and not kept.
class Arguments {
  public:
    explicit Arguments(const char* subcommand) { request.arguments.emplace_back(subcommand); }
    void flag(const char* name, const std::string& value) {
        request.arguments.push_back(std::string("--") + name + "=" + value);
    }
    void fd(const char* name, const host::Fd& fd) {
        flag(name, std::to_string(fd.get()));
        request.keep_fds.push_back(fd.get());
    }
    void channel(const char* name, const Channel& channel) {
        flag(name, channel.flag_value());
        for (const host::Fd* fd : {&channel.memory, &channel.doorbell, &channel.completion})
            request.keep_fds.push_back(fd->get());
    }
    void streams(const char* name, std::span<const int> fds) {
        std::string list;
        for (int fd : fds) {
            list += (list.empty() ? "" : ",") + std::to_string(fd);
            request.keep_fds.push_back(fd);
        }
        if (!fds.empty()) flag(name, list);
    }
    void append(const std::vector<std::string>& flags) {
        request.arguments.insert(request.arguments.end(), flags.begin(), flags.end());
    }

    SpawnRequest request;
};

constexpr unsigned long kIsolated = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
constexpr unsigned long kBootNamespaces = kIsolated | CLONE_NEWNS | CLONE_NEWPID;

// An empty network namespace is dear to make (0.5 ms), and seccomp leaves neither process a use for it: the gofer joins
// the sandbox process's, unless it needs a user namespace. It makes its mount namespace itself.
void choose_gofer_namespaces(SpawnRequest& gofer, const Child& boot, unsigned long user_namespace) {
    gofer.namespaces = CLONE_NEWPID | (user_namespace ? CLONE_NEWUSER | kIsolated : 0);
    if (!user_namespace) gofer.join_pidfd = boot.pidfd.get();
}

}  // namespace

Outcome<SandboxProcesses> launch(const LaunchPlan& plan) {
    const Channel channel = TRY(make_channel_fds());
    const host::Fd config = TRY(make_memory_file("config.json", std::as_bytes(std::span(plan.config_text))));
    const host::Fd mounts = TRY(make_memory_file("mounts", {}));
    const host::Fd app_spec = TRY(make_memory_file("app-spec", std::as_bytes(std::span(plan.app_spec))));
    Pair control = TRY(make_control());
    Pair log = TRY(make_pipe(0));
    Pair lifeline = TRY(make_pipe(1));
    const bool own_namespaces = plan.namespaces == Namespaces::kOwn;
    const unsigned long user_namespace = has_capability(CAP_SYS_ADMIN) ? 0 : CLONE_NEWUSER;

    Arguments gofer("gofer");
    gofer.flag("bundle", plan.bundle);
    gofer.channel("io-fds", channel);
    gofer.fd("spec-fd", config);
    gofer.fd("mounts-fd", mounts);
    gofer.fd("lifeline-fd", lifeline.theirs);
    gofer.fd("log-fd", log.theirs);
    gofer.append(plan.gofer_flags);
    if (!own_namespaces) gofer.flag("setup-root", "false");
    if (own_namespaces && user_namespace && plan.maps_ids) gofer.append({"--user-namespace"});
    gofer.request.stdio = {-1, -1, log.theirs.get()};

    Arguments boot("boot");
    boot.channel("channel-fds", channel);
    boot.fd("spec-fd", app_spec);
    boot.fd("control-fd", control.theirs);
    boot.fd("log-fd", log.theirs);
    boot.append(plan.boot_flags);
    boot.request.stdio = {plan.streams[0], plan.streams[1], plan.streams[2]};
    boot.streams("stream-fds", std::span(plan.streams).subspan(3));
    if (own_namespaces) {
        boot.request.namespaces = kBootNamespaces | user_namespace;
    } else {
        boot.append({"--no-namespaces"});
    }

    SandboxProcesses processes;
    processes.control = std::move(control.ours);
    processes.log = std::move(log.ours);
    processes.lifeline = std::move(lifeline.ours);
    processes.boot = TRY(spawn_self(boot.request));
    if (own_namespaces) choose_gofer_namespaces(gofer.request, processes.boot, user_namespace);
    Outcome<Child> started = spawn_self(gofer.request);
    if (started.is_error()) {
        kill_child(processes.boot);
        wait_for(processes.boot);
        return started.error();
    }
    processes.gofer = started.release_value();
    return processes;
}

}  // namespace kvmsbx::oci
