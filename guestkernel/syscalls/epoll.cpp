#include "guestkernel/ipc/epoll.hpp"

#include "guestkernel/platform/host.hpp"
#include "guestkernel/syscalls/poll_time.hpp"

namespace kvmsbx::syscalls {

using ipc::Epoll;
using ipc::EpollEvent;

namespace {

constexpr int32_t kCtlAdd = 1, kCtlDel = 2, kCtlMod = 3;
constexpr uint32_t kExclusiveAllowed = vfs::kPollIn | vfs::kPollOut | vfs::kPollErr | vfs::kPollHup |
                                       ipc::kEpollWakeup | ipc::kEpollEdge | ipc::kEpollExclusive;

Result<> check_exclusive(int32_t operation, const EpollEvent& event, bool target_is_epoll) {
    if (operation == kCtlDel || !(event.events & ipc::kEpollExclusive)) return {};
    if (operation == kCtlMod) return Errno::kINVAL;
    if (target_is_epoll || (event.events & ~kExclusiveAllowed)) return Errno::kINVAL;
    return {};
}

// What bad memory cannot take is not lost.
Result<int64_t> tell(Task& task, Epoll& epoll, std::span<const Epoll::Taken> found, UserOut<EpollEvent> events) {
    size_t count = 0;
    for (; count < found.size(); ++count) {
        const UserOut<EpollEvent> place{events.address + count * sizeof(EpollEvent)};
        if (place.store(task.space(), found[count].event).is_error()) break;
    }
    if (count < found.size()) epoll.give_back(found.subspan(count));
    return count > 0 || found.empty() ? Result<int64_t>(static_cast<int64_t>(count)) : Result<int64_t>(Errno::kFAULT);
}

Result<int64_t> do_wait(Task& task, Fd fd, UserOut<EpollEvent> events, int32_t maximum, sched::Nanoseconds deadline) {
    if (maximum <= 0 || maximum > static_cast<int32_t>(0x7fffffff / sizeof(EpollEvent))) return Errno::kINVAL;
    if (events.address >= platform::user_end) return Errno::kFAULT;
    const RefPtr<vfs::File> file = TRY(task.files().get(fd));
    Epoll* epoll = Epoll::from(*file);
    if (!epoll) return Errno::kINVAL;
    Epoll::Taken few[Epoll::kBatch];
    Vector<Epoll::Taken> many;
    std::span<Epoll::Taken> room(few, std::min(static_cast<size_t>(maximum), Epoll::kBatch));
    // All at once: a second look would find again what is ready by level.
    const size_t most = std::min(static_cast<size_t>(maximum), epoll->interest_count());
    if (most > room.size() && many.resize(most).is_ok()) room = many.span();
    const size_t count = TRY(epoll->wait(room, deadline));
    return tell(task, *epoll, room.first(count), events);
}

Result<int64_t> do_pwait(Task& task, Fd fd, UserOut<EpollEvent> events, int32_t maximum, sched::Nanoseconds deadline,
                         UserIn<uint64_t> mask, size_t mask_size) {
    TRY(swap_signal_mask(task, mask, mask_size));
    auto result = do_wait(task, fd, events, maximum, deadline);
    restore_signal_mask(task, result.is_error() && result.error() == Errno::kINTR);
    return result;
}

}  // namespace

Result<int64_t> sys_epoll_create1(Task& task, OpenFlags flags) {
    if (flags & ~vfs::kOCloexec) return Errno::kINVAL;
    RefPtr<vfs::File> file = TRY(make_ref<Epoll>(0));
    return TRY(task.files().install(std::move(file), flags & vfs::kOCloexec, task.limit(task::kRlimitNofile)));
}

Result<int64_t> sys_epoll_create(Task& task, int32_t size) {
    if (size <= 0) return Errno::kINVAL;
    return sys_epoll_create1(task, OpenFlags{0});
}

Result<int64_t> sys_epoll_ctl(Task& task, Fd epoll_fd, int32_t operation, Fd fd, UserIn<EpollEvent> event) {
    EpollEvent wanted{};
    if (operation != kCtlDel) wanted = TRY(event.load(task.space()));
    const RefPtr<vfs::File> holder = TRY(task.files().get(epoll_fd));
    const RefPtr<vfs::File> target = TRY(task.files().get(fd));
    if (!target->poll().queue) return Errno::kPERM;
    Epoll* epoll = Epoll::from(*holder);
    if (!epoll || holder == target) return Errno::kINVAL;
    TRY(check_exclusive(operation, wanted, Epoll::from(*target) != nullptr));
    switch (operation) {
        case kCtlAdd: TRY(epoll->add(*target, fd, wanted)); return 0;
        case kCtlMod: TRY(epoll->modify(*target, fd, wanted)); return 0;
        case kCtlDel: TRY(epoll->remove(*target, fd)); return 0;
        default: return Errno::kINVAL;
    }
}

Result<int64_t> sys_epoll_wait(Task& task, Fd epoll, UserOut<EpollEvent> events, int32_t maximum, int32_t timeout) {
    return do_wait(task, epoll, events, maximum, deadline_after_ms(timeout));
}

Result<int64_t> sys_epoll_pwait(Task& task, Fd epoll, UserOut<EpollEvent> events, int32_t maximum, int32_t timeout,
                                UserIn<uint64_t> mask, size_t mask_size) {
    return do_pwait(task, epoll, events, maximum, deadline_after_ms(timeout), mask, mask_size);
}

Result<int64_t> sys_epoll_pwait2(Task& task, Fd epoll, UserOut<EpollEvent> events, int32_t maximum,
                                 UserIn<PollTimespec> timeout, UserIn<uint64_t> mask, size_t mask_size) {
    sched::Nanoseconds deadline = sched::kNever;
    if (timeout) deadline = deadline_after(TRY(to_nanoseconds(TRY(timeout.load(task.space())))));
    return do_pwait(task, epoll, events, maximum, deadline, mask, mask_size);
}

}  // namespace kvmsbx::syscalls
