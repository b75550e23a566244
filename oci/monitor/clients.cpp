// The monitor's clients: what the other verbs ask for.
#include <signal.h>

#include <algorithm>

#include "oci/monitor/listener.hpp"
#include "oci/monitor/monitor.hpp"

namespace kvmsbx::oci {
namespace {

constexpr size_t kMostClients = 600;

}  // namespace

template <typename M>
void Monitor::answer(Client& client, uint64_t id, const M& message) {
    if (client.connection.send(id, message).is_error()) drop(client);
}

void Monitor::refuse(Client& client, uint64_t id, const std::string& why) {
    control::Failed<wire::Owned> failed;
    failed.text = why;
    answer(client, id, failed);
}

// A client whose process waits for an Exec takes that process with it.
void Monitor::drop(Client& client) {
    client.gone = true;
    if (client.exec) tell_sandbox({client.exec, SIGKILL, false, false});
    client.exec = 0;
    for (auto it = pending_.begin(); it != pending_.end();)
        it = it->second.client == &client ? pending_.erase(it) : std::next(it);
}

void Monitor::sweep_clients() {
    clients_.remove_if([](const Client& client) { return client.gone; });
}

void Monitor::accept_clients() {
    while (std::optional<Accepted> accepted = accept_control(listener_.get())) {
        if (clients_.size() >= kMostClients) continue;  // the hang-up says no
        clients_.push_back(
            {ControlConnection(std::move(accepted->socket), ControlConnection::Mode::kNonBlocking), accepted->pid});
    }
}

void Monitor::receive_from(Client& client) {
    if (client.connection.flush().is_error()) return drop(client);
    while (!client.gone) {
        Result<std::optional<Frame>> frame = client.connection.receive();
        if (frame.is_error()) return drop(client);
        if (!frame.value()) return;
        handle_client_frame(client, *frame.value());
    }
}

template <typename M>
bool Monitor::serve_if(Client& client, const Frame& frame, void (Monitor::*handler)(Client&, const Frame&)) {
    if (!frame.is<M>()) return false;
    if (frame.as<M>().is_error())
        drop(client);
    else
        (this->*handler)(client, frame);
    return true;
}

void Monitor::handle_client_frame(Client& client, const Frame& frame) {
    const bool served = serve_if<control::Start>(client, frame, &Monitor::handle_start) ||
                        serve_if<control::Exec<wire::Viewed>>(client, frame, &Monitor::handle_exec) ||
                        serve_if<control::Signal>(client, frame, &Monitor::handle_signal) ||
                        serve_if<control::Resize>(client, frame, &Monitor::handle_resize) ||
                        serve_if<control::Ps>(client, frame, &Monitor::pass_on) ||
                        serve_if<control::Stats>(client, frame, &Monitor::pass_on) ||
                        serve_if<control::Update>(client, frame, &Monitor::pass_on) ||
                        serve_if<control::Stacks>(client, frame, &Monitor::pass_on) ||
                        serve_if<control::Pause>(client, frame, &Monitor::pause) ||
                        serve_if<control::Resume>(client, frame, &Monitor::resume) ||
                        serve_if<control::HostProcesses>(client, frame, &Monitor::list_host_processes);
    if (!served) drop(client);
}

void Monitor::pass_on(Client& client, const Frame& frame) {
    pending_[next_id_] = {&client, frame.header.id};
    if (sandbox_.forward(frame, next_id_++).is_error()) refuse(client, frame.header.id, "container not running");
}

void Monitor::handle_start(Client& client, const Frame& frame) {
    if (running_) return refuse(client, frame.header.id, "cannot start a container that is running already");
    if (start_id_) return refuse(client, frame.header.id, "the container is being started already");
    send_window_size();  // before it: a terminal may have been resized since it was made
    start_id_ = next_id_;
    pass_on(client, frame);
}

void Monitor::handle_exec(Client& client, const Frame& frame) {
    if (record_.status == Status::kPaused) return refuse(client, frame.header.id, "the container is paused; resume it");
    if (!running_) return refuse(client, frame.header.id, "container not running");
    if (client.exec_request) return drop(client);
    client.exec = next_id_;
    client.exec_request = frame.header.id;
    pass_on(client, frame);
}

// Answered at once, so that nobody waits for a sandbox that hangs.
void Monitor::handle_signal(Client& client, const Frame& frame) {
    control::Signal signal = *frame.as<control::Signal>();
    if (signal.target != 0) signal.target = client.exec;
    if (signal.number == SIGKILL && signal.target == 0 && record_.status == Status::kPaused) {
        signal_sandbox(SIGCONT);
        set_status(Status::kRunning);
    }
    if (signal.number != 0) tell_sandbox(signal);
    answer(client, frame.header.id, control::Done{});
}

void Monitor::handle_resize(Client& client, const Frame& frame) {
    control::Resize resize = *frame.as<control::Resize>();
    if (resize.target != 0) resize.target = client.exec;
    ignore(sandbox_.send(next_id_++, resize), "a sandbox that is gone is seen by its pidfd");
    answer(client, frame.header.id, control::Done{});
}

// Both lead a process group each, with all that they started.
bool Monitor::signal_sandbox(int number) {
    return kill(-processes_.boot.pid, number) == 0 && kill(-processes_.gofer.pid, number) == 0;
}

void Monitor::pause(Client& client, const Frame& frame) {
    if (record_.status != Status::kRunning)
        return refuse(client, frame.header.id,
                      std::string("cannot pause a container that is ") + status_name(record_.status));
    if (!signal_sandbox(SIGSTOP)) {
        signal_sandbox(SIGCONT);
        return refuse(client, frame.header.id, "the host does not let the monitor stop the sandbox's processes");
    }
    set_status(Status::kPaused);
    answer(client, frame.header.id, control::Done{});
}

void Monitor::resume(Client& client, const Frame& frame) {
    if (record_.status != Status::kPaused)
        return refuse(client, frame.header.id,
                      std::string("cannot resume a container that is ") + status_name(record_.status));
    signal_sandbox(SIGCONT);
    set_status(Status::kRunning);
    answer(client, frame.header.id, control::Done{});
}

void Monitor::list_host_processes(Client& client, const Frame& frame) {
    control::HostPids<wire::Owned> pids;
    pids.pids.push_back(record_.monitor.pid);
    for (const Client& other : clients_)
        if (other.exec && other.pid > 0) pids.pids.push_back(other.pid);
    answer(client, frame.header.id, pids);
}

}  // namespace kvmsbx::oci
