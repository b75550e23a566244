#pragma once
// The monitor: the process that is the container for the host. It owns the sandbox's two processes, their messages, the
// control socket and the container's state, and ends with the container's exit code; with it everything ends.
//
//   verbs ── control.sock ──► monitor ── socket ──► boot (VMM, Sentry)      control/messages.hpp
//                                │ ◄──── pipe ───── boot, gofer             their messages
//                                └────── pipe ────► gofer                   its hang-up ends the gofer
//
// `run` is a monitor in the foreground; `create` leaves one behind (create.hpp). One thread; nothing blocks but poll().
#include <list>
#include <optional>
#include <unordered_map>

#include "oci/container/store.hpp"
#include "oci/control/connection.hpp"
#include "oci/launch.hpp"
#include "oci/reporter.hpp"
#include "oci/terminal.hpp"

namespace kvmsbx::oci {

// For tests of the Sentry's panic: after so many milliseconds the sandbox is told to crash (control::Crash).
struct CrashRequest {
    int after_ms = -1;  // -1: none
    unsigned kind = 0;
};

// Blocks the signals that the monitor takes (those it forwards to the application, SIGWINCH, SIGCONT), and gives the
// signalfd on which they come. Before launch(), so that none is lost.
Outcome<host::Fd> take_signals();

class Monitor {
  public:
    Monitor(ContainerFolder& folder, ContainerRecord& record, Reporter& reporter)
        : folder_(folder), record_(record), reporter_(reporter) {}
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;

    void set_listener(host::Fd listener) { listener_ = std::move(listener); }
    // The caller's terminal, which is raw while the sandbox lives; it outlives the monitor. Its size is the
    // application's.
    void set_terminal(RawTerminal* terminal) { terminal_ = terminal; }
    // The other end of a console socket's terminal: its size is the application's.
    void set_console(host::Fd console) { console_ = std::move(console); }
    void set_crash(CrashRequest crash) { crash_ = crash; }

    // Starts the sandbox's processes and waits until the first process could be started. What the sandbox's processes
    // said is reported already when a failure has no message.
    Outcome<> launch_sandbox(const LaunchPlan& plan, host::Fd signals);
    // The first process runs its program.
    Outcome<> start();
    // Until the sandbox has ended. The exit code: the application's, or host::kExitOwnFailure after a line was reported.
    int serve();
    // Ends the sandbox and waits for its processes. The exit code is that of the failure before, if there was one.
    int abandon();

  private:
    struct Client {
        ControlConnection connection;
        pid_t pid;
        uint64_t exec = 0;          // the Sentry's id of its Exec; 0: none
        uint64_t exec_request = 0;  // the client's own id of it
        bool gone = false;
    };
    struct Pending {
        Client* client;
        uint64_t id;  // the client's
    };

    bool step(int timeout_ms);
    bool has_ended() const { return boot_ended_ || gofer_ended_; }
    ChildEnd reap();
    int explain(ChildEnd boot, ChildEnd gofer);
    void drain_log();

    void take_signal();
    void send_window_size();
    void tell_sandbox(const control::Signal& signal);

    void receive_from_sandbox();
    void handle_sandbox_frame(const Frame& frame);
    void remember_failure(const Frame& frame);
    void started();

    void accept_clients();
    void receive_from(Client& client);
    void handle_client_frame(Client& client, const Frame& frame);
    void handle_exec(Client& client, const Frame& frame);
    void handle_start(Client& client, const Frame& frame);
    void handle_signal(Client& client, const Frame& frame);
    void handle_resize(Client& client, const Frame& frame);
    void pass_on(Client& client, const Frame& frame);
    template <typename M>
    void answer(Client& client, uint64_t id, const M& message);
    void refuse(Client& client, uint64_t id, const std::string& why);
    void drop(Client& client);
    void sweep_clients();
    template <typename M>
    bool serve_if(Client& client, const Frame& frame, void (Monitor::*handler)(Client&, const Frame&));

    void pause(Client& client, const Frame& frame);
    void resume(Client& client, const Frame& frame);
    void list_host_processes(Client& client, const Frame& frame);
    bool signal_sandbox(int number);
    void set_status(Status status);

    ContainerFolder& folder_;
    ContainerRecord& record_;
    Reporter& reporter_;
    host::Fd listener_, signals_, console_;
    RawTerminal* terminal_ = nullptr;
    CrashRequest crash_;

    SandboxProcesses processes_;
    ControlConnection sandbox_;
    bool launched_ = false, ready_ = false, running_ = false;
    bool boot_ended_ = false, gofer_ended_ = false;
    int failure_code_ = 0;                     // of the Sentry's Failed for the first process; 0: none
    std::optional<int64_t> kill_deadline_ms_;  // when a killed sandbox that did not end is ended by force

    std::list<Client> clients_;
    std::unordered_map<uint64_t, Pending> pending_;
    uint64_t next_id_ = 1, start_id_ = 0;
};

}  // namespace kvmsbx::oci
