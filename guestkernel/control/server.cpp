#include "guestkernel/control/server.hpp"

#include "guestkernel/control/exec.hpp"
#include "guestkernel/control/first_process.hpp"
#include "guestkernel/control/frames.hpp"
#include "guestkernel/control/inspect.hpp"
#include "guestkernel/control/limits.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::control {
namespace {

sched::WaitQueue arrived;
bool event_came = true;  // frames may have come before the server

void refuse(uint64_t id, std::string_view why) { send(id, Failed<wire::Borrowed>{kOwnFailure, why}); }

// Null: it has none, or is gone.
fs::ConsoleTerminal* terminal_of(uint64_t target) { return target == 0 ? first_terminal() : exec_terminal(target); }

// ---- one function for each request

void on(uint64_t id, const Start&) {
    if (!start_first_process(id)) refuse(id, "the container's process was started already, or cannot be started yet");
}

void on(uint64_t id, const Signal& signal) {
    const auto number = static_cast<int>(signal.number);
    if (signal.number < 1 || signal.number > task::kSigMax) return refuse(id, "there is no signal of this number");
    const auto first = signal.foreground ? task::FirstProcess::kCanBeEnded : task::FirstProcess::kIsSpared;
    if (signal.all) {
        task::for_each_process([&](task::Process& process) { task::send_signal_from_host(process, number, first); });
    } else {
        fs::ConsoleTerminal* terminal = signal.foreground ? terminal_of(signal.target) : nullptr;
        task::Process* process = signal.target == 0 ? &task::first_process() : exec_process(signal.target);
        if (terminal && terminal->foreground_group() > 0)
            task::send_signal_from_host_to_group(terminal->foreground_group(), number);
        else if (process)
            task::send_signal_from_host(*process, number, first);
    }
    send(id, Done{});
}

void on(uint64_t id, const Resize& size) {
    if (size.rows > UINT16_MAX || size.columns > UINT16_MAX) return refuse(id, "a terminal has no such size");
    if (fs::ConsoleTerminal* terminal = terminal_of(size.target))
        terminal->set_window_size({static_cast<uint16_t>(size.rows), static_cast<uint16_t>(size.columns), 0, 0});
    send(id, Done{});
}

void on(uint64_t id, const Ps&) { send_processes(id); }
void on(uint64_t id, const Stats&) { send(id, usage()); }
void on(uint64_t id, const Stacks&) { send_stacks(id); }

void on(uint64_t id, const Update& update) {
    if (apply_limits(update.limits).is_error())
        return refuse(id, "a CPU period is 1000 to 1000000 us, a quota at least 1000 us");
    send(id, Done{});
}

void on(uint64_t, const Crash& crash) {
    volatile uint64_t address = 0x10;                                    // volatile: the compiler is not to know
    if (crash.kind != 0) *reinterpret_cast<volatile int*>(address) = 1;  // SAFETY: meant to fault
    panic("asked to by a debug event");
}

// ---- from frames to requests

template <typename M>
void serve_as(const InFrame& frame) {
    const auto message = wire::decode<M>(frame.body.span());
    if (message.is_error()) return refuse(frame.header.id, "the request is malformed");
    on(frame.header.id, message.value());
}

void serve(const InFrame& frame) {
    switch (frame.header.type) {
        case Start::kType: return serve_as<Start>(frame);
        case Ps::kType: return serve_as<Ps>(frame);
        case Stats::kType: return serve_as<Stats>(frame);
        case Stacks::kType: return serve_as<Stacks>(frame);
        case Update::kType: return serve_as<Update>(frame);
        case Signal::kType: return serve_as<Signal>(frame);
        case Resize::kType: return serve_as<Resize>(frame);
        case Crash::kType: return serve_as<Crash>(frame);
        default: return refuse(frame.header.id, "this sandbox does not know the request; is it of another version?");
    }
}

// Streams of a request that takes none.
void close_streams(const FrameHeader& header) {
    for (unsigned i = 0; i < header.descriptors && header.first_stream != kNoStream; ++i)
        platform::console_close(header.first_stream + i);
}

class Server final : public sched::Thread {
  public:
    void run() override {
        for (;;) {
            wait([] { return event_came; });
            event_came = false;
            while (serve_next()) wait(all_sent);
        }
    }

  private:
    template <typename Condition>
    static void wait(Condition condition) {
        MUST(arrived.wait(condition));  // no signal interrupts a thread of the Sentry
    }
    static bool serve_next() {
        InFrame frame;
        switch (receive(frame)) {
            case Arrived::kNothing: return false;
            case Arrived::kTooLarge: send_out_of_memory(frame.header.id); break;
            case Arrived::kFrame:
                if (frame.header.type == Exec<wire::Viewed>::kType) {
                    start_exec(std::move(frame));
                    return true;
                }
                serve(frame);
                break;
        }
        close_streams(frame.header);
        return true;
    }
};

}  // namespace

Result<> start_server() {
    if (!platform::has_monitor()) return {};
    TRY(prepare_frames());
    auto server = TRY(make_ref<Server>());
    TRY(server->create_stack());
    sched::start(*server);
    return {};
}

void host_event() {
    flush();
    event_came = true;
    arrived.wake_all();
}

}  // namespace kvmsbx::control
