// Linux AIO (io_submit(2)).
#include "guestkernel/ipc/aio.hpp"

#include "guestkernel/ipc/eventfd.hpp"
#include "guestkernel/syscalls/file_helpers.hpp"
#include "guestkernel/syscalls/handlers_ipc.hpp"
#include "guestkernel/syscalls/poll_time.hpp"

namespace kvmsbx::syscalls {

using ipc::AioContext;
using ipc::AioEvent;

namespace {

enum Operation : uint16_t { kPread = 0, kPwrite = 1, kFsync = 2, kFdsync = 3, kPreadv = 7, kPwritev = 8 };
constexpr uint32_t kFlagResultFd = 1, kFlagPriority = 2;  // IOCB_FLAG_*
constexpr size_t kBatch = 32;

// The operation's outcome is the event's, but what Linux finds before it begins is the call's error.
Result<> check_request(Task& task, const Iocb& request) {
    const RefPtr<vfs::File> file = TRY(file_of(task, static_cast<int32_t>(request.fd)));
    switch (request.operation) {
        case kPread:
        case kPreadv:
            if (!file->readable()) return Errno::kBADF;
            break;
        case kPwrite:
        case kPwritev:
            if (!file->writable()) return Errno::kBADF;
            break;
        case kFsync:
        case kFdsync:
            if (request.buffer || request.offset || request.size || request.rw_flags) return Errno::kINVAL;
            return {};
        default: return Errno::kINVAL;
    }
    if (request.rw_flags) return Errno::kOPNOTSUPP;
    if (file->inode() && file->inode()->is_directory()) return Errno::kINVAL;
    return {};
}

Result<int64_t> carry_out(Task& task, const Iocb& request) {
    const Fd fd{static_cast<int32_t>(request.fd)};
    const UserBuffer buffer{request.buffer};
    Result<int64_t> result = Errno::kINVAL;
    switch (request.operation) {
        case kPread:
            result = sys_pread64(task, fd, buffer, request.size, request.offset);
            if (result.is_error() && result.error() == Errno::kSPIPE) return sys_read(task, fd, buffer, request.size);
            return result;
        case kPwrite:
            result = sys_pwrite64(task, fd, buffer, request.size, request.offset);
            if (result.is_error() && result.error() == Errno::kSPIPE) return sys_write(task, fd, buffer, request.size);
            return result;
        case kPreadv:
            result = sys_preadv(task, fd, buffer, request.size, request.offset, 0);
            if (result.is_error() && result.error() == Errno::kSPIPE) return sys_readv(task, fd, buffer, request.size);
            return result;
        case kPwritev:
            result = sys_pwritev(task, fd, buffer, request.size, request.offset, 0);
            if (result.is_error() && result.error() == Errno::kSPIPE) return sys_writev(task, fd, buffer, request.size);
            return result;
        case kFsync: return sys_fsync(task, fd);
        default: return sys_fdatasync(task, fd);
    }
}

int64_t as_event_result(const Result<int64_t>& result) {
    if (result.is_ok()) return result.value();
    constexpr int32_t kFirstRestart = 512;  // of the codes that never leave the Sentry
    const int32_t error = static_cast<int32_t>(result.error());
    return -int64_t{error >= kFirstRestart ? static_cast<int32_t>(Errno::kINTR) : error};
}

Result<> submit_one(Task& task, AioContext& context, uint64_t address) {
    const Iocb request = TRY(UserIn<Iocb>{address}.load(task.space()));
    if (request.reserved || (request.flags & ~(kFlagResultFd | kFlagPriority))) return Errno::kINVAL;
    if (static_cast<int64_t>(request.size) < 0) return Errno::kINVAL;
    if (!context.has_room()) return Errno::kAGAIN;
    TRY(file_of(task, static_cast<int32_t>(request.fd)));
    RefPtr<vfs::File> told;
    if (request.flags & kFlagResultFd) {
        told = TRY(task.files().get(static_cast<int32_t>(request.result_fd)));
        if (!ipc::EventFd::from(*told)) return Errno::kINVAL;
    }
    TRY(UserOut<uint32_t>{address + offsetof(Iocb, key)}.store(task.space(), 0));
    TRY(check_request(task, request));
    const Result<int64_t> result = carry_out(task, request);
    if (!context.has_room()) return Errno::kAGAIN;  // the ring's head was turned back meanwhile
    context.complete({request.data, address, as_event_result(result), 0});
    if (told) ipc::EventFd::from(*told)->signal();
    return {};
}

Result<int64_t> take_events(Task& task, AioContext& context, uint64_t to, size_t wanted) {
    sched::MutexGuard guard(context.reading);
    // What is there now: the application can write the ring's head, and so have events for ever.
    wanted = std::min(wanted, context.available());
    size_t done = 0;
    while (done < wanted) {
        AioEvent events[kBatch];
        const size_t count = context.peek({events, std::min(wanted - done, kBatch)});
        if (count == 0) break;
        const UserOut<AioEvent> place{to + done * sizeof(AioEvent)};
        if (Result<> stored = place.store_array(task.space(), {events, count}); stored.is_error())
            return done ? Result<int64_t>(static_cast<int64_t>(done)) : Result<int64_t>(stored.error());
        context.move_head(count);
        done += count;
    }
    return static_cast<int64_t>(done);
}

Result<int64_t> get_events(Task& task, uint64_t id, int64_t least, int64_t most, uint64_t events,
                           UserIn<PollTimespec> timeout) {
    sched::Nanoseconds deadline = sched::kNever;
    if (timeout) deadline = deadline_after(TRY(to_nanoseconds(TRY(timeout.load(task.space())))));
    const RefPtr<AioContext> context = TRY(ipc::find_aio_context(task.space(), id));
    if (least < 0 || most < least) return Errno::kINVAL;
    int64_t done = 0;
    for (;;) {
        const Result<int64_t> taken = take_events(
            task, *context, events + static_cast<uint64_t>(done) * sizeof(AioEvent), static_cast<size_t>(most - done));
        if (taken.is_error()) return done ? Result<int64_t>(done) : Result<int64_t>(taken.error());
        done += taken.value();
        if (done >= least || context->destroyed) return done;
        if (task.interrupted()) return done ? Result<int64_t>(done) : Result<int64_t>(Errno::kINTR);
        const Result<> waited = context->completed.wait([&] { return context->available() > 0 || context->destroyed; },
                                                        sched::Interruptible::kYes, deadline);
        if (waited.is_error() && done == 0 && waited.error() == Errno::kRESTARTSYS) return Errno::kINTR;
        if (waited.is_error()) return done;
    }
}

}  // namespace

Result<int64_t> sys_io_setup(Task& task, uint32_t requests, UserInOut<uint64_t> context) {
    if (TRY(context.load(task.space())) != 0 || requests == 0) return Errno::kINVAL;
    constexpr uint32_t kMost = 0x10000000 / sizeof(AioEvent);
    if (requests > kMost) return Errno::kINVAL;
    const uint64_t id = TRY(ipc::create_aio_context(task.space(), requests));
    if (Result<> stored = context.store(task.space(), id); stored.is_error()) {
        ignore(ipc::destroy_aio_context(task.space(), id), "another thread may have destroyed it already");
        return stored.error();
    }
    return int64_t{0};
}

Result<int64_t> sys_io_destroy(Task& task, uint64_t context) {
    return done(ipc::destroy_aio_context(task.space(), context));
}

Result<int64_t> sys_io_submit(Task& task, uint64_t id, int64_t count, UserIn<uint64_t> requests) {
    if (count < 0) return Errno::kINVAL;
    const RefPtr<AioContext> context = TRY(ipc::find_aio_context(task.space(), id));
    for (int64_t i = 0; i < count; ++i) {
        const UserIn<uint64_t> place{requests.address + static_cast<uint64_t>(i) * sizeof(uint64_t)};
        const Result<uint64_t> address = place.load(task.space());
        const Result<> submitted =
            address.is_ok() ? submit_one(task, *context, address.value()) : Result<>(address.error());
        if (submitted.is_error()) return i ? Result<int64_t>(i) : Result<int64_t>(submitted.error());
        if (context->destroyed || task.interrupted()) return i + 1;
    }
    return count;
}

// Whatever was submitted is done, so nothing can be found that could be cancelled.
Result<int64_t> sys_io_cancel(Task& task, uint64_t, UserIn<Iocb> request, UserOut<AioEvent>) {
    TRY(UserIn<uint32_t>{request.address + offsetof(Iocb, key)}.load(task.space()));
    return Errno::kINVAL;
}

Result<int64_t> sys_io_getevents(Task& task, uint64_t context, int64_t least, int64_t most, UserOut<AioEvent> events,
                                 UserIn<PollTimespec> timeout) {
    return get_events(task, context, least, most, events.address, timeout);
}

Result<int64_t> sys_io_pgetevents(Task& task, uint64_t context, int64_t least, int64_t most, UserOut<AioEvent> events,
                                  UserIn<PollTimespec> timeout, UserIn<SelectMask> mask) {
    SelectMask wanted{};
    if (mask) wanted = TRY(mask.load(task.space()));
    TRY(swap_signal_mask(task, UserIn<uint64_t>{wanted.set}, wanted.size));
    auto result = get_events(task, context, least, most, events.address, timeout);
    restore_signal_mask(task, result.is_error() && result.error() == Errno::kINTR);
    return result;
}

}  // namespace kvmsbx::syscalls
