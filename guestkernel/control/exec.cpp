#include "guestkernel/control/exec.hpp"

#include <cstring>

#include "guestkernel/control/first_process.hpp"
#include "guestkernel/control/start_process.hpp"
#include "guestkernel/task/exit.hpp"
#include "guestkernel/task/registry.hpp"

namespace kvmsbx::control {
namespace {

using ExecMessage = Exec<wire::Viewed>;

class ExecProcess final : public task::Outside {
  public:
    // files: what its descriptors will be. ENOMEM, EAGAIN.
    static Result<> start(InFrame frame, fs::StandardFiles files);
    ExecProcess(InFrame frame, fs::StandardFiles files)
        : id(frame.header.id), frame_(std::move(frame)), files_(std::move(files)), terminal(files_.terminal) {}

    const uint64_t id;
    task::Process* process = nullptr;
    ListHook list_hook;

  private:
    void process_ended(int32_t status) override;
    static void bootstrap(task::Task& task);
    void run(task::Task& task);
    bool try_to_run(task::Task& task, Failure& failure);

    InFrame frame_;  // until its program runs
    fs::StandardFiles files_;
    // Made beforehand: there is always memory to answer, and to tell of its end.
    RefPtr<OutFrame> answer_, exited_;
    bool runs_ = false;  // its program

  public:
    const RefPtr<fs::ConsoleTerminal> terminal;
};

List<ExecProcess, &ExecProcess::list_hook> execs;  // those whose process lives

ExecProcess* find(uint64_t id) {
    for (ExecProcess& exec : execs)
        if (exec.id == id) return &exec;
    return nullptr;
}

Result<> ExecProcess::start(InFrame frame, fs::StandardFiles files) {
    auto exec = TRY(make_ref<ExecProcess>(std::move(frame), std::move(files)));
    exec->answer_ = TRY(OutFrame::with_room(encode_frame({}, exec->id, Failed<wire::Borrowed>{}) + Failure::kMost));
    exec->exited_ = TRY(OutFrame::create(exec->id, Exited{}));
    auto task = TRY(task::create_process(bootstrap, exec));
    exec->process = &task->process();
    execs.push_back(*exec);
    sched::start(*task);
    return {};
}

void ExecProcess::bootstrap(task::Task& task) {
    // SAFETY: start() makes every process whose bootstrap this is, with an ExecProcess.
    const RefPtr<ExecProcess> exec(static_cast<ExecProcess*>(task.process().outside.get()));
    exec->run(task);
}

void ExecProcess::run(task::Task& task) {
    Failure failure;
    runs_ = try_to_run(task, failure);
    frame_ = {};
    files_ = {};
    if (runs_) {
        answer_->set(id, Started{task.process().pid});
    } else {
        answer_->set(id, Failed<wire::Borrowed>{static_cast<uint32_t>(failure.code), failure.text.view()});
        task.process().exiting = true;  // on the way to its program, the task ends
    }
    send(std::move(answer_));
}

bool ExecProcess::try_to_run(task::Task& task, Failure& failure) {
    const auto exec = MUST(wire::decode<ExecMessage>(frame_.body.span()));  // start_exec() has looked
    task::Task* first = task::first_process().leader();
    if (!first || !first->fs_) return fail(failure, "cannot start", "exec", Errno::kSRCH, "the container is ending");
    auto root = first->fs().clone();
    if (root.is_error()) return fail(failure, "cannot start", "exec", root.error(), advice_for(root.error()));
    task.fs_ = root.release_value();
    task.fs_->cwd = task.fs_->root;
    task::ExecRequest request;
    return prepare_process(task, exec.process, files_, Cwd::kMustBeThere, request, failure) &&
           execute_process(task, exec.process, std::move(request), failure);
}

void ExecProcess::process_ended(int32_t status) {
    process = nullptr;
    list_hook.unlink();
    if (!runs_) return;  // it was never there
    exited_->set(id, Exited{status});
    send(std::move(exited_));
}

void refuse(uint64_t id, std::string_view why) { send(id, Failed<wire::Borrowed>{kOwnFailure, why}); }

void refuse(uint64_t id, Errno error) {
    Failure failure;
    fail(failure, "cannot make", "the process", error, advice_for(error));
    refuse(id, failure.text.view());
}

fs::WindowSize window_size(const ProcessSpec& process) {
    return {static_cast<uint16_t>(process.rows), static_cast<uint16_t>(process.columns), 0, 0};
}

}  // namespace

void start_exec(InFrame frame) {
    const FrameHeader& header = frame.header;
    if (header.first_stream == kNoStream) return refuse(header.id, "the sandbox has too many streams open");
    auto streams = fs::take_streams(header.first_stream, header.descriptors);
    if (streams.is_error()) return refuse(header.id, streams.error());
    const auto exec = wire::decode<ExecMessage>(frame.body.span());
    if (exec.is_error()) return refuse(header.id, "the request is malformed");
    const ProcessSpec& process = exec.value().process;
    const unsigned standard = process.terminal ? 1 : 3;
    if (streams->size() < standard || streams->size() - standard != process.more_streams)
        return refuse(header.id, "the process has other streams than came with the request");
    if (header.id == 0 || find(header.id)) return refuse(header.id, "a process has this id already");
    if (!is_first_process_running()) return refuse(header.id, "the container is not running");
    auto files = fs::make_standard_files(streams.release_value(), process.terminal, window_size(process));
    if (files.is_error()) return refuse(header.id, files.error());
    const uint64_t id = header.id;
    if (auto started = ExecProcess::start(std::move(frame), files.release_value()); started.is_error())
        refuse(id, started.error());
}

task::Process* exec_process(uint64_t id) {
    ExecProcess* exec = find(id);
    return exec ? exec->process : nullptr;
}

fs::ConsoleTerminal* exec_terminal(uint64_t id) {
    ExecProcess* exec = find(id);
    return exec ? exec->terminal.get() : nullptr;
}

}  // namespace kvmsbx::control
