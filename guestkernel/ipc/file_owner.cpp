#include "guestkernel/ipc/file_owner.hpp"

#include "guestkernel/task/registry.hpp"

namespace kvmsbx::ipc {

namespace {

constexpr int32_t kPollInCode = 1, kPollOutCode = 2;  // si_code POLL_IN, POLL_OUT
constexpr uint32_t kReadable = vfs::kPollIn | vfs::kPollRdNorm | vfs::kPollHup | vfs::kPollErr | vfs::kPollPri,
                   kWritable = vfs::kPollOut | vfs::kPollWrNorm;

bool any_process_in(int32_t group) {
    bool found = false;
    task::for_each_process([&](task::Process& process) { found = found || process.group == group; });
    return found;
}

}  // namespace

Result<FileOwner*> FileOwner::of(vfs::File& file) {
    if (!file.signal_owner) file.signal_owner = TRY(make_ref<FileOwner>(file));
    return find(file);
}

Result<> FileOwner::set(OwnerKind kind, int32_t id, const auth::Credentials& who) {
    const int32_t before = id_;
    const OwnerKind kind_before = kind_;
    kind_ = kind, id_ = id;
    if (id != 0 && this->id() == 0) {
        kind_ = kind_before, id_ = before;
        return Errno::kSRCH;
    }
    uid_ = who.ruid, euid_ = who.euid;
    return {};
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
    if (file_.readable() && (events & kReadable)) send(kPollInCode, events & kReadable);
    if (file_.writable() && (events & kWritable)) send(kPollOutCode, events & kWritable);
}

void FileOwner::send(int32_t code, int64_t band) {
    task::SigInfo info = task::kernel_signal(signal ? signal : task::kSigIo);
    if (signal) {
        info.code = code;
        info.raw[0] = static_cast<uint64_t>(band);
        info.raw[1] = static_cast<uint32_t>(fd);
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
        if (thread && allowed(thread->process())) task::send_signal(*thread, info);
        return;
    }
    task::for_each_process([&](task::Process& process) {
        if ((kind_ == OwnerKind::kProcess ? process.pid : process.group) == id_ && allowed(process))
            task::send_signal(process, info);
    });
}

}  // namespace kvmsbx::ipc
