#include "guestkernel/init/first_task.hpp"

#include "common/control/messages.hpp"
#include "guestkernel/control/first_process.hpp"
#include "guestkernel/control/server.hpp"
#include "guestkernel/control/start_hooks.hpp"
#include "guestkernel/control/start_process.hpp"
#include "guestkernel/fs/file_systems.hpp"
#include "guestkernel/init/boot_sandbox.hpp"
#include "guestkernel/lib/assert.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/sched/clock.hpp"

namespace kvmsbx::init {
namespace {

constexpr unsigned kStandard = 3;                         // streams
constexpr sched::Nanoseconds kDrainTime = 2'000'000'000;  // for the last output of a terminal

SandboxSpec read_spec() {
    const abi::BootInfo& boot = platform::boot_info();
    // SAFETY: the VMM put the spec into RAM below ram_first_free.
    const std::span bytes(static_cast<const uint8_t*>(platform::phys_to_virt(boot.app_spec_gpa)), boot.app_spec_size);
    auto spec = wire::decode<SandboxSpec>(bytes);
    if (spec.is_error() || spec->version != spec::kSandboxSpecVersion || spec->mounts.empty() ||
        spec->process.args.empty() || spec->process.more_streams > control::kMaxStreams - kStandard)
        panic("the sandbox's spec is malformed");
    return spec.release_value();
}

Result<fs::StandardFiles> take_standard_files(const control::ProcessSpec& process) {
    return fs::make_console(TRY(fs::take_streams(0, kStandard + process.more_streams)), process.terminal,
                            {static_cast<uint16_t>(process.rows), static_cast<uint16_t>(process.columns), 0, 0});
}

}  // namespace

void cannot_start(Errno error) {
    control::Failure failure;
    control::fail(failure, "cannot make", "the first process", error, control::advice_for(error));
    control::end_with(failure);
}

void take_start_settings() {
    const SandboxSpec spec = read_spec();
    control::begin_first_process(spec.wait_for_start ? control::StartsBy::kRequest : control::StartsBy::kItself);
    ignore(sched::set_clock_offsets({spec.monotonic_offset_ns, spec.boottime_offset_ns}), "boot_sandbox() sees it");
}

void run_first_task(task::Task& task) {
    const SandboxSpec spec = read_spec();
    auto files = take_standard_files(spec.process);
    if (files.is_error()) cannot_start(files.error());
    control::set_first_terminal(files->terminal);
    if (auto served = control::start_server(); served.is_error()) cannot_start(served.error());
    boot_sandbox(task, spec);
    task::ExecRequest request;
    control::Failure failure;
    if (!control::prepare_process(task, spec.process, *files, control::Cwd::kIsMade, request, failure))
        control::end_with(failure);
    control::await_start(task);
    if (!control::confine_process(task, spec.process, failure) ||
        !control::run_start_hooks(task, spec, request, failure) ||
        !control::execute_process(task, spec.process, std::move(request), failure))
        control::end_with(failure);
    control::first_process_runs();
}

void exit_sandbox(int status) {
    const int code = (status & 0x7f) ? 128 + (status & 0x7f) : status >> 8 & 0xff;
    // As the end of a PID namespace: all other processes are gone at once; what they wrote to shared file mappings is
    // not lost.
    fs::write_back_everything();
    if (fs::ConsoleTerminal* terminal = control::first_terminal()) terminal->drain(sched::now() + kDrainTime);
    platform::end_sandbox(code);
}

void handle_host_events() {
    while (const auto event = platform::next_host_event()) {
        switch (event->type) {
            case abi::HostEventType::kConsole: fs::host_stream_ready(event->arg); break;
            case abi::HostEventType::kControl: control::host_event(); break;
            default: break;
        }
    }
}

}  // namespace kvmsbx::init
