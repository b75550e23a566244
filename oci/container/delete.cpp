#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "oci/container/access.hpp"
#include "oci/container/cgroup.hpp"
#include "oci/container/hooks.hpp"
#include "oci/container/lifecycle.hpp"
#include "oci/monitor/listener.hpp"

namespace kvmsbx::oci {
namespace {

constexpr int kPatienceMs = 2000;  // for a sandbox that ends by itself: its files are written back

host::Fd open_process(const ProcessIdentity& process) {
    if (process.pid <= 0) return {};
    host::Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
    if (pidfd.is_open() && !process.is_alive()) pidfd.reset();  // another's number, or gone
    return pidfd;
}

bool wait_for_end(const host::Fd& pidfd, int timeout_ms) {
    pollfd polled{pidfd.get(), POLLIN, 0};
    return !pidfd.is_open() || poll(&polled, 1, timeout_ms) > 0;
}

void kill_by(const host::Fd& pidfd) {
    if (pidfd.is_open()) syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

// The processes of a sandbox whose monitor was killed end by themselves; they are helped and waited for.
void end_process(const ProcessIdentity& process) {
    const host::Fd pidfd = open_process(process);
    kill_by(pidfd);
    wait_for_end(pidfd, kPatienceMs);
}

void end_monitor(const ContainerFolder& folder, const ProcessIdentity& monitor, bool politely) {
    const host::Fd pidfd = open_process(monitor);
    if (!pidfd.is_open()) return;
    if (politely) {
        Outcome<ControlConnection> connection = connect_to_monitor(folder);
        if (connection.is_ok())
            ignore(connection.value().send(1, control::Signal{0, SIGKILL, false, false}), "there is the harder way");
        if (wait_for_end(pidfd, kPatienceMs)) return;
    }
    kill_by(pidfd);
    wait_for_end(pidfd, -1);
}

void wait_until_unheld(const ContainerFolder& folder) {
    constexpr timespec kPause{0, 2'000'000};
    for (int attempt = 0; attempt < 1000 && folder.is_held(); ++attempt) nanosleep(&kPause, nullptr);
}

void run_poststop_hooks(const Container& container, Reporter& reporter) {
    Outcome<Spec> spec = read_spec(container.folder);
    if (spec.is_error()) return reporter.debug("no poststop hooks: " + spec.error().message);
    for (const Failure& failure : run_every_hook(spec.value().hooks.poststop, "poststop",
                                                 oci_state_json(container.record, Status::kStopped), HookContext{}))
        reporter.warning(failure.message);
}

Outcome<> remove_container(Container& container, Reporter& reporter) {
    end_process(container.record.boot);
    end_process(container.record.gofer);
    TRY(Cgroup::from_paths(container.record.cgroups, container.record.systemd_unit).remove(Leftovers::kKill));
    run_poststop_hooks(container, reporter);
    return container.folder.remove();
}

// Nothing is known but the folder: who listens there is the monitor.
Outcome<> remove_unreadable(const std::string& root, const std::string& id) {
    ContainerFolder folder = TRY(ContainerFolder::open(root, id));
    end_monitor(folder, ProcessIdentity::of(find_monitor(folder)), false);
    wait_until_unheld(folder);
    return folder.remove();
}

Outcome<> remove(const std::string& root, const std::string& id, bool force, Reporter& reporter) {
    TRY(validate_container_id(id));
    if (force && ContainerFolder::open(root, id).is_error()) return {};
    Outcome<Container> found = find_container(root, id);
    if (found.is_error() && force) return remove_unreadable(root, id);
    if (found.is_error()) return found.error();
    Container& container = found.value();
    const bool running = container.status == Status::kRunning || container.status == Status::kPaused;
    if (running && !force)
        return Failure{"cannot delete container " + id + " that is " + status_name(container.status) +
                       "; kill it first, or use --force"};
    end_monitor(container.folder, container.record.monitor, container.status != Status::kCreating);
    wait_until_unheld(container.folder);
    return remove_container(container, reporter);
}

}  // namespace

int delete_container(const std::string& root, const std::string& id, bool force, Reporter& reporter) {
    return finish(remove(root, id, force, reporter), reporter);
}

}  // namespace kvmsbx::oci
