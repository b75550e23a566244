#include "guestkernel/control/start_hooks.hpp"

#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/task/signal_delivery.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::control {
namespace {

using Hook = spec::Hook<wire::Viewed>;

constexpr size_t kShownOutput = 400;  // bytes
constexpr int kCannotRun = 127;

// One hook, while it runs.
struct Run {
    task::ExecRequest request;
    RefPtr<vfs::File> input, output;
    Errno error{};  // why its program could not be started
    bool timed_out = false;
};
Run* running;

Result<> write_text(vfs::File& file, std::string_view text) {
    mm::IoBuffer from = mm::IoBuffer::kernel_readonly(std::as_bytes(std::span(text)));
    TRY(file.write_at(from, 0));
    return {};
}

Result<> add(Vector<String>& list, std::string_view text) { return list.push_back(TRY(String::create(text))); }

Result<> prepare(task::Task& first, const Hook& hook, std::string_view state, const task::ExecRequest& program,
                 Run& run) {
    run.input = TRY(fs::make_memfd("hook-state", first.credentials()));
    TRY(write_text(*run.input, state));
    run.output = TRY(fs::make_memfd("hook-output", first.credentials()));
    run.request.base = program.base;
    TRY(run.request.path.append(hook.path));
    for (std::string_view text : hook.args) TRY(add(run.request.arguments, text));
    if (hook.args.empty()) TRY(add(run.request.arguments, hook.path));
    for (std::string_view text : hook.env) TRY(add(run.request.environment, text));
    if (hook.env.empty())
        for (const String& text : program.environment) TRY(add(run.request.environment, text.view()));
    return {};
}

Result<> start_program(task::Task& task, Run& run) {
    task.process().group = task.process().pid;
    task.files_ = TRY(make_ref<vfs::FdTable>());
    unsigned descriptor = 0;
    for (const RefPtr<vfs::File>& file : {run.input, run.output, run.output})
        TRY(task.files().install_at(static_cast<int>(descriptor++), file, false, task.limit(task::kRlimitNofile)));
    return task::execute(task, std::move(run.request));
}

void bootstrap(task::Task& task) {
    if (auto started = start_program(task, *running); started.is_error()) {
        running->error = started.error();
        task::exit_group(task, kCannotRun << 8);
    }
}

// A signal that ends the first process ends the hooks with it.
bool has_ended(task::Task& first, const task::Process& hook, sched::Nanoseconds deadline) {
    for (;;) {
        const auto waited = first.process().child_events.wait(
            [&] { return hook.state != task::Process::State::kAlive; }, sched::Interruptible::kYes, deadline);
        if (waited.is_ok()) return true;
        if (waited.error() == Errno::kTIMEDOUT) return false;
        task::deliver_signals(first);
    }
}

// Its status as wait4(2) has it.
Result<int32_t> run_to_the_end(task::Task& first, const Hook& hook, Run& run) {
    constexpr sched::Nanoseconds kSecond = 1'000'000'000;
    task::CloneRequest request;
    request.bootstrap = bootstrap;
    running = &run;
    const int32_t pid = TRY(task::clone(first, request));
    const RefPtr<task::Process> process(*task::find_process(pid));
    const sched::Nanoseconds deadline = hook.timeout_s ? sched::now() + hook.timeout_s * kSecond : sched::kNever;
    if (!has_ended(first, *process, deadline)) {
        run.timed_out = true;
        task::send_signal_to_group(process->group, task::kernel_signal(task::kSigKill));
        task::send_signal(*process, task::kernel_signal(task::kSigKill));  // it may not have come to its group yet
        has_ended(first, *process, sched::kNever);
    }
    task::WaitRequest wait;
    wait.which = task::WaitRequest::Which::kPid;
    wait.id = pid;
    wait.options = task::kWexited | task::kWall | task::kWnohang;
    return TRY(task::wait_for_child(first, wait)).status;
}

// What it wrote, on one line.
void put_output(vfs::File& output, TextSink& sink) {
    char text[kShownOutput];
    mm::IoBuffer space = mm::IoBuffer::kernel(std::as_writable_bytes(std::span(text)));
    std::string_view rest(text, output.read_at(space, 0).value_or(0));
    while (rest.ends_with('\n')) rest.remove_suffix(1);
    if (!rest.empty()) sink.put(": ");
    for (char c : rest) sink.put(c == '\n' ? std::string_view("; ") : std::string_view(&c, 1));
}

void put_reason(const Hook& hook, const Run& run, int32_t status, TextSink& sink) {
    const int signal = status & 0x7f;
    if (run.error != Errno{})
        sink.put(text_of(run.error));
    else if (run.timed_out)
        format_to(sink, "ended after its timeout of {} s", hook.timeout_s);
    else if (signal)
        format_to(sink, "killed by signal {}", signal);
    else
        format_to(sink, "exit status {}", status >> 8 & 0xff);
}

bool run_hook(task::Task& first, const Hook& hook, std::string_view state, const task::ExecRequest& program,
              Failure& failure) {
    Run run;
    Result<int32_t> status = 0;
    if (auto prepared = prepare(first, hook, state, program, run); prepared.is_error())
        status = prepared.error();
    else
        status = run_to_the_end(first, hook, run);
    if (status.is_error())
        return fail(failure, "cannot run the startContainer hook", hook.path, status.error(), "see --debug");
    if (status.value() == 0 && !run.timed_out) return true;
    format_to(failure.text, "the startContainer hook \"{}\" failed: ", hook.path);
    put_reason(hook, run, status.value(), failure.text);
    put_output(*run.output, failure.text);
    failure.text.put("; check hooks.startContainer in config.json");
    return false;
}

}  // namespace

bool run_start_hooks(task::Task& first, const spec::SandboxSpec<wire::Viewed>& spec, const task::ExecRequest& program,
                     Failure& failure) {
    for (const Hook& hook : spec.start_hooks)
        if (!run_hook(first, hook, spec.hook_state, program, failure)) return false;
    return true;
}

}  // namespace kvmsbx::control
