#include "guestkernel/ipc/poll.hpp"

#include "guestkernel/syscalls/poll_time.hpp"

namespace kvmsbx::syscalls {

using ipc::PollItem;
using sched::Nanoseconds;

namespace {

constexpr uint64_t kSecond = 1'000'000'000, kMicrosecond = 1000, kMillisecond = 1'000'000;
constexpr uint64_t kMaxSeconds = 1ULL << 33;  // what is longer than 272 years is for ever
constexpr size_t kWordBits = 64;

// select(2): which poll bits make a descriptor ready in each set.
constexpr uint32_t kSelectIn =
    vfs::kPollRdNorm | vfs::kPollRdBand | vfs::kPollIn | vfs::kPollHup | vfs::kPollErr | vfs::kPollNval;
constexpr uint32_t kSelectOut =
    0x200 /* POLLWRBAND */ | vfs::kPollWrNorm | vfs::kPollOut | vfs::kPollErr | vfs::kPollNval;
constexpr uint32_t kSelectExcept = vfs::kPollPri | vfs::kPollNval;

Errno interrupted_as(Errno error, Errno as) { return error == Errno::kRESTARTSYS ? as : error; }

Result<int64_t> do_poll(Task& task, UserInOut<PollFd> fds, uint32_t count, Nanoseconds deadline) {
    if (count > task.limit(task::kRlimitNofile)) return Errno::kINVAL;
    Vector<PollFd> entries;
    Vector<PollItem> items;
    TRY(entries.resize(count));
    TRY(items.resize(count));
    TRY(mm::copy_from_user(task.space(), entries.data(), fds.address, count * sizeof(PollFd)));
    int ready = 0;
    for (size_t i = 0; i < count; ++i) {
        entries[i].revents = 0;
        if (entries[i].fd < 0) continue;
        auto file = task.files().get(entries[i].fd);
        if (file.is_error()) {
            items[i].events = vfs::kPollNval;
            ++ready;
            continue;
        }
        items[i].file = file.release_value();
        items[i].wanted = static_cast<uint16_t>(entries[i].events);
    }
    const auto result = ipc::poll_items(items.span(), ready, deadline);
    if (result.is_error()) return result.error();
    for (size_t i = 0; i < count; ++i) {
        const auto revents = static_cast<int16_t>(items[i].events);
        const uint64_t place = fds.address + i * sizeof(PollFd) + offsetof(PollFd, revents);
        TRY(mm::copy_to_user(task.space(), place, &revents, sizeof revents));
    }
    return result.value();
}

Result<int64_t> resume_poll(Task& task) {
    const auto& restart = task.restart;
    const auto result =
        do_poll(task, {restart.arguments[0]}, static_cast<uint32_t>(restart.arguments[1]), restart.deadline);
    return result.is_error() ? Result<int64_t>(interrupted_as(result.error(), Errno::kRESTART_RESTARTBLOCK))
                             : result.value();
}

// --- select

struct SelectSets {
    Vector<uint64_t> in, out, except;
};

bool bit(const Vector<uint64_t>& set, size_t fd) { return !set.empty() && set[fd / kWordBits] >> fd % kWordBits & 1; }

Result<> load_set(Task& task, UserInOut<uint64_t> from, size_t words, Vector<uint64_t>& set) {
    if (!from) return {};
    TRY(set.resize(words));
    return mm::copy_from_user(task.space(), set.data(), from.address, words * sizeof(uint64_t));
}

Result<> store_set(Task& task, UserInOut<uint64_t> to, const Vector<uint64_t>& set) {
    if (!to) return {};
    return mm::copy_to_user(task.space(), to.address, set.data(), set.size() * sizeof(uint64_t));
}

// As Linux, descriptors beyond the table are not looked at: the table grows in steps of 64.
size_t table_size(Task& task) {
    int highest = -1;
    for (int fd = task.files().next_open(0); fd >= 0; fd = task.files().next_open(fd + 1)) highest = fd;
    return (static_cast<size_t>(highest + 1) + kWordBits - 1) / kWordBits * kWordBits;
}

Result<> gather(Task& task, size_t count, const SelectSets& sets, Vector<PollItem>& items, Vector<int>& numbers) {
    for (size_t fd = 0; fd < count; ++fd) {
        const uint32_t wanted = (bit(sets.in, fd) ? kSelectIn : 0) | (bit(sets.out, fd) ? kSelectOut : 0) |
                                (bit(sets.except, fd) ? kSelectExcept : 0);
        if (!wanted) continue;
        PollItem item;
        item.file = TRY(task.files().get(static_cast<int>(fd)));
        item.wanted = wanted;
        TRY(items.push_back(std::move(item)));
        TRY(numbers.push_back(static_cast<int>(fd)));
    }
    return {};
}

// Leaves in `set` what is ready; gives how many bits that are.
int64_t keep_ready(Vector<uint64_t>& set, const Vector<PollItem>& items, const Vector<int>& numbers, uint32_t mask) {
    if (set.empty()) return 0;
    int64_t count = 0;
    size_t next = 0;
    for (size_t fd = 0; fd < set.size() * kWordBits; ++fd) {
        while (next < items.size() && numbers[next] < static_cast<int>(fd)) ++next;
        if (!bit(set, fd)) continue;
        const bool ready = next < items.size() && numbers[next] == static_cast<int>(fd) && (items[next].events & mask);
        if (ready)
            ++count;
        else
            set[fd / kWordBits] &= ~(1ULL << fd % kWordBits);
    }
    return count;
}

struct SelectArguments {
    int32_t count;
    UserInOut<uint64_t> in, out, except;
};

Result<int64_t> do_select(Task& task, const SelectArguments& args, Nanoseconds deadline) {
    if (args.count < 0) return Errno::kINVAL;
    const size_t count = std::min(static_cast<size_t>(args.count), std::max(table_size(task), kWordBits));
    const size_t words = (count + kWordBits - 1) / kWordBits;
    SelectSets sets;
    TRY(load_set(task, args.in, words, sets.in));
    TRY(load_set(task, args.out, words, sets.out));
    TRY(load_set(task, args.except, words, sets.except));
    Vector<PollItem> items;
    Vector<int> numbers;
    TRY(gather(task, count, sets, items, numbers));
    const auto waited = ipc::poll_items(items.span(), 0, deadline);
    if (waited.is_error()) return interrupted_as(waited.error(), Errno::kRESTARTNOHAND);
    const int64_t ready = keep_ready(sets.in, items, numbers, kSelectIn) +
                          keep_ready(sets.out, items, numbers, kSelectOut) +
                          keep_ready(sets.except, items, numbers, kSelectExcept);
    TRY(store_set(task, args.in, sets.in));
    TRY(store_set(task, args.out, sets.out));
    TRY(store_set(task, args.except, sets.except));
    return ready;
}

Nanoseconds left_until(Nanoseconds deadline) {
    const Nanoseconds now = sched::now();
    return deadline > now ? deadline - now : 0;
}

// The timeout that is left goes back to the application. If it cannot be stored, an interrupted call cannot be tried
// again.
template <typename Time>
Result<int64_t> finish(Task& task, Result<int64_t> result, UserInOut<Time> timeout, Nanoseconds delay,
                       const Time& left) {
    if (!timeout) return result;
    if (delay != 0 && timeout.store(task.space(), left).is_ok()) return result;
    if (result.is_error() && result.error() == Errno::kRESTARTNOHAND) return Errno::kINTR;
    return result;
}

bool was_interrupted(const Result<int64_t>& result) {
    return result.is_error() && (result.error() == Errno::kRESTARTNOHAND || result.error() == Errno::kINTR);
}

}  // namespace

// --- times and masks

Result<Nanoseconds> to_nanoseconds(const PollTimespec& time) {
    if (time.seconds < 0 || time.nanoseconds < 0 || time.nanoseconds >= static_cast<int64_t>(kSecond))
        return Errno::kINVAL;
    if (static_cast<uint64_t>(time.seconds) > kMaxSeconds) return sched::kNever;
    return static_cast<uint64_t>(time.seconds) * kSecond + static_cast<uint64_t>(time.nanoseconds);
}

PollTimespec to_timespec(Nanoseconds ns) {
    return {static_cast<int64_t>(ns / kSecond), static_cast<int64_t>(ns % kSecond)};
}

Nanoseconds deadline_after(Nanoseconds delay) {
    const Nanoseconds now = sched::now();
    return delay >= sched::kNever - now ? sched::kNever : now + delay;
}

Nanoseconds deadline_after_ms(int32_t timeout) {
    return timeout < 0 ? sched::kNever : deadline_after(static_cast<uint64_t>(timeout) * kMillisecond);
}

Result<> swap_signal_mask(Task& task, UserIn<uint64_t> mask, size_t size) {
    if (!mask) return {};
    if (size != sizeof(uint64_t)) return Errno::kINVAL;
    const uint64_t bits = TRY(mask.load(task.space()));
    task.saved_blocked = task.blocked;
    task.restore_blocked = true;
    task::set_blocked(task, task::SignalSet{bits});
    return {};
}

void restore_signal_mask(Task& task, bool interrupted) {
    if (interrupted || !task.restore_blocked) return;
    task.restore_blocked = false;
    task::set_blocked(task, task.saved_blocked);
}

// --- the calls

Result<int64_t> sys_poll(Task& task, UserInOut<PollFd> fds, uint32_t count, int32_t timeout) {
    const Nanoseconds deadline = deadline_after_ms(timeout);
    const auto result = do_poll(task, fds, count, deadline);
    if (result.is_ok()) return result.value();
    if (result.error() != Errno::kRESTARTSYS) return result.error();
    task.restart.deadline = deadline;
    task.restart.arguments[0] = fds.address;
    task.restart.arguments[1] = count;
    task.restart.kind = Task::Restart::kPoll;
    task.restart.resume = resume_poll;
    return Errno::kRESTART_RESTARTBLOCK;
}

Result<int64_t> sys_ppoll(Task& task, UserInOut<PollFd> fds, uint32_t count, UserInOut<PollTimespec> timeout,
                          UserIn<uint64_t> mask, size_t mask_size) {
    Nanoseconds delay = sched::kNever;
    if (timeout) delay = TRY(to_nanoseconds(TRY(timeout.load(task.space()))));
    const Nanoseconds deadline = deadline_after(delay);
    TRY(swap_signal_mask(task, mask, mask_size));
    auto result = do_poll(task, fds, count, deadline);
    if (result.is_error() && result.error() == Errno::kRESTARTSYS) result = Errno::kRESTARTNOHAND;
    restore_signal_mask(task, was_interrupted(result));
    return finish(task, std::move(result), timeout, delay, to_timespec(left_until(deadline)));
}

Result<int64_t> sys_select(Task& task, int32_t count, UserInOut<uint64_t> in, UserInOut<uint64_t> out,
                           UserInOut<uint64_t> except, UserInOut<PollTimeval> timeout) {
    Nanoseconds delay = sched::kNever;
    if (timeout) {
        const PollTimeval value = TRY(timeout.load(task.space()));
        constexpr int64_t kPerSecond = 1'000'000;
        delay = TRY(to_nanoseconds({value.seconds + value.microseconds / kPerSecond,
                                    value.microseconds % kPerSecond * static_cast<int64_t>(kMicrosecond)}));
    }
    const Nanoseconds deadline = deadline_after(delay);
    auto result = do_select(task, {count, in, out, except}, deadline);
    const Nanoseconds left = left_until(deadline);
    const PollTimeval left_value{static_cast<int64_t>(left / kSecond),
                                 static_cast<int64_t>(left % kSecond / kMicrosecond)};
    return finish(task, std::move(result), timeout, delay, left_value);
}

Result<int64_t> sys_pselect6(Task& task, int32_t count, UserInOut<uint64_t> in, UserInOut<uint64_t> out,
                             UserInOut<uint64_t> except, UserInOut<PollTimespec> timeout, UserIn<SelectMask> mask) {
    SelectMask argument{};
    if (mask) argument = TRY(mask.load(task.space()));
    Nanoseconds delay = sched::kNever;
    if (timeout) delay = TRY(to_nanoseconds(TRY(timeout.load(task.space()))));
    const Nanoseconds deadline = deadline_after(delay);
    TRY(swap_signal_mask(task, UserIn<uint64_t>{argument.set}, argument.size));
    auto result = do_select(task, {count, in, out, except}, deadline);
    restore_signal_mask(task, was_interrupted(result));
    return finish(task, std::move(result), timeout, delay, to_timespec(left_until(deadline)));
}

}  // namespace kvmsbx::syscalls
