#include "guestkernel/ipc/file_owner.hpp"

#include "guestkernel/task/registry.hpp"
#include "guestkernel/task/signal_delivery.hpp"

namespace kvmsbx::ipc {

namespace {

constexpr int32_t kSiSigio = -5;  // SI_SIGIO
// Signals whose codes mean something else than POLL_IN and kin (sig_specific_sicodes of Linux).
constexpr task::SignalSet kOwnCodes{task::kSynchronous.bits | 1ULL << (task::kSigChld - 1)};
// si_band by PollCode; with POLLMSG the last.
constexpr int64_t kBands[] = {vfs::kPollIn | vfs::kPollRdNorm, vfs::kPollOut | vfs::kPollWrNorm | 0x200,
                              vfs::kPollIn | vfs::kPollRdNorm | 0x400};
constexpr uint32_t kReadable = vfs::kPollIn | vfs::kPollRdNorm | vfs::kPollHup | vfs::kPollErr | vfs::kPollPri,
                   kWritable = vfs::kPollOut | vfs::kPollWrNorm;

bool any_process_in(int32_t group) {
    bool found = false;
    task::for_each_process([&](task::Process& process) { found = found || process.group == group; });
    return found;
}

// Linux tells by a plain SIGIO that no more real-time signals queue.
template <typename Target>
void send_or_fall_back(Target& target, const task::SigInfo& info) {
    if (task::queue_signal(target, info).is_error()) task::send_signal(target, task::kernel_signal(task::kSigIo));
}

// Whatever the number stands for: Linux looks for its struct pid, and for an owner of that kind only when it sends.
bool is_in_use(int32_t id) { return task::find_task(id) || task::find_process(id) || any_process_in(id); }

// By a thread's number, too.
task::Process* process_of(int32_t id) {
    if (task::Process* const process = task::find_process(id)) return process;
    task::Task* const thread = task::find_task(id);
    return thread ? &thread->process() : nullptr;
}

}  // namespace

Result<FileOwner*> FileOwner::of(vfs::File& file) {
    if (!file.signal_owner) file.signal_owner = TRY(make_ref<FileOwner>(file));
    return find(file);
}

Result<> FileOwner::set(OwnerKind kind, int32_t id, const auth::Credentials& who) {
    if (id < 0 || (id != 0 && !is_in_use(id))) return Errno::kSRCH;
    kind_ = kind, id_ = id;
    uid_ = who.ruid, euid_ = who.euid;
    return {};
}

void FileOwner::set_if_none(const task::Task& caller) {
    if (id_) return;
    kind_ = OwnerKind::kProcess, id_ = caller.tid;
    uid_ = caller.credentials().ruid, euid_ = caller.credentials().euid;
}

int32_t FileOwner::id() const {
    if (id_ <= 0) return 0;
    switch (kind_) {
        case OwnerKind::kThread: return task::find_task(id_) ? id_ : 0;
        case OwnerKind::kProcess: return task::find_process(id_) ? id_ : 0;
        case OwnerKind::kGroup: return any_process_in(id_) ? id_ : 0;
    }
    return 0;
}

void FileOwner::follow_flags() {
    if (!(file_.flags & vfs::kOAsync)) return wait_hook.unlink();
    if (wait_hook.is_linked()) return;
    if (sched::WaitQueue* queue = file_.poll().queue) queue->add(*this);
}

void FileOwner::notify(uint32_t events) {
    if (!id_) return;
    if (events == ~0U) events = file_.poll().events;
    if (file_.readable() && (events & kReadable)) send(PollCode::kIn, fd);
    if (file_.writable() && (events & kWritable)) send(PollCode::kOut, fd);
}

void FileOwner::send(PollCode code, int32_t descriptor) {
    if (!id_) return;
    task::SigInfo info = task::kernel_signal(signal ? signal : task::kSigIo);
    if (signal) {
        const auto number = static_cast<int32_t>(code);
        info.code = kOwnCodes.has(signal) ? kSiSigio : number;
        info.raw[0] = static_cast<uint64_t>(kBands[number - 1]);
        info.raw[1] = static_cast<uint32_t>(descriptor);
    }
    send_to_owner(info);
}

void FileOwner::urgent() {
    if (id_) send_to_owner(task::kernel_signal(task::kSigUrg));
}

void FileOwner::send_to_owner(const task::SigInfo& info) {
    const auto allowed = [this](const task::Process& process) {  // sigio_perm of Linux
        if (process.threads.empty()) return false;
        const auth::Credentials& target = process.threads.front().credentials();
        return euid_ == 0 || euid_ == target.suid || euid_ == target.ruid || uid_ == target.suid || uid_ == target.ruid;
    };
    if (kind_ == OwnerKind::kThread) {
        task::Task* const thread = task::find_task(id_);
        if (thread && allowed(thread->process())) send_or_fall_back(*thread, info);
    } else if (kind_ == OwnerKind::kProcess) {
        task::Process* const process = process_of(id_);
        if (process && allowed(*process)) send_or_fall_back(*process, info);
    } else {
        task::for_each_process([&](task::Process& process) {
            if (process.group == id_ && allowed(process)) send_or_fall_back(process, info);
        });
    }
}

}  // namespace kvmsbx::ipc
