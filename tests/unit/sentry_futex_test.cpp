// Futexes: order of wakes, requeue, operations, robust lists. The waiters are Sentry threads that wait for a task that
// does not run itself.
#include "guestkernel/task/futex.hpp"

#include <functional>
#include <vector>

#include "guestkernel/task/clocks.hpp"
#include "tests/unit/sentry_task.hpp"

namespace kvmsbx::task {
namespace {

// A task that runs `body` as its bootstrap and ends.
RefPtr<Task> start_task(TestTask& owner, int32_t tid, void (*body)(Task&)) {
    auto made = owner.add_thread(tid);
    EXPECT_TRUE(made->create_stack().is_ok());
    made->bootstrap = body;
    sched::start(*made);
    return made;
}

struct World {
    mm::UserAddress word = 0;
    std::vector<int32_t> woken;
    Result<int64_t> last = int64_t{0};
} world;

void wait_and_note(Task& task) {
    auto result = futex_wait(task, {world.word, false, 0, kFutexAnyBit, sched::kNever});
    EXPECT_TRUE(result.is_ok());
    world.woken.push_back(task.tid);
    task.thread_hook.unlink();
    sched::exit_thread();
}

void run(std::function<void()> body) {
    platform::test::Machine machine;
    world = {};
    machine.run(body);
}

TEST(Futex, WakesInOrderOfArrival) {
    run([] {
        TestTask t(40);
        world.word = t.map(4096);
        std::vector<RefPtr<Task>> tasks;
        for (int32_t tid = 41; tid < 44; ++tid) tasks.push_back(start_task(t, tid, wait_and_note));
        sched::yield();
        EXPECT_EQ(futex_wake(t.task->space(), world.word, false, 2).value(), 2);
        sched::yield();
        EXPECT_EQ(world.woken, (std::vector<int32_t>{41, 42}));
        EXPECT_EQ(futex_wake(t.task->space(), world.word, false, 100).value(), 1);
        sched::yield();
        EXPECT_EQ(futex_wake(t.task->space(), world.word, false, 1).value(), 0);
        EXPECT_EQ(world.woken.size(), 3u);
    });
}

TEST(Futex, RequeueMovesTheRest) {
    run([] {
        TestTask t(50);
        world.word = t.map(4096);
        const mm::UserAddress second = world.word + 64;
        std::vector<RefPtr<Task>> tasks;
        for (int32_t tid = 51; tid < 55; ++tid) tasks.push_back(start_task(t, tid, wait_and_note));
        sched::yield();
        const uint32_t wrong = 9, right = 0;
        EXPECT_EQ(futex_requeue(t.task->space(), world.word, second, false, 1, 2, &wrong).error(), Errno::kAGAIN);
        EXPECT_EQ(futex_requeue(t.task->space(), world.word, second, false, 1, 2, &right).value(), 3);
        EXPECT_EQ(futex_wake(t.task->space(), second, false, 100).value(), 2);
        EXPECT_EQ(futex_wake(t.task->space(), world.word, false, 100).value(), 1);
        sched::yield();
        EXPECT_EQ(world.woken, (std::vector<int32_t>{51, 52, 53, 54}));
    });
}

TEST(Futex, ValuesTimeoutsAndErrors) {
    run([] {
        TestTask t(60);
        const mm::UserAddress word = t.map(4096);
        t.write<uint32_t>(word, 5);
        EXPECT_EQ(futex_wait(*t.task, {word, false, 4, kFutexAnyBit, sched::kNever}).error(), Errno::kAGAIN);
        EXPECT_EQ(futex_wait(*t.task, {word, false, 5, 0, sched::kNever}).error(), Errno::kINVAL);
        EXPECT_EQ(futex_wait(*t.task, {word + 1, false, 5, kFutexAnyBit, sched::kNever}).error(), Errno::kINVAL);
        EXPECT_EQ(futex_wait(*t.task, {0x1000, false, 5, kFutexAnyBit, sched::kNever}).error(), Errno::kFAULT);
        EXPECT_EQ(futex_wait(*t.task, {word, false, 5, kFutexAnyBit, sched::now() + 1'000'000}).error(),
                  Errno::kTIMEDOUT);
        EXPECT_EQ(futex_wake(t.task->space(), word, false, 1).value(), 0);  // the waiter has left the queue
    });
}

TEST(Futex, WakeOpChangesTheWord) {
    run([] {
        TestTask t(61);
        const mm::UserAddress word = t.map(4096);
        t.write<uint32_t>(word, 7);
        // FUTEX_OP(ADD, 3, CMP_EQ, 7)
        EXPECT_TRUE(
            futex_wake_op(t.task->space(), word + 8, word, false, 1, 1, 1U << 28 | 0U << 24 | 3U << 12 | 7).is_ok());
        EXPECT_EQ(t.read<uint32_t>(word), 10u);
        // OR of 1 << 4
        EXPECT_TRUE(
            futex_wake_op(t.task->space(), word + 8, word, false, 1, 1, 0x8000'0000U | 2U << 28 | 4U << 12).is_ok());
        EXPECT_EQ(t.read<uint32_t>(word), 26u);
        EXPECT_EQ(futex_wake_op(t.task->space(), word + 8, word, false, 1, 1, 7U << 28).error(), Errno::kNOSYS);
        EXPECT_EQ(t.read<uint32_t>(word), 26u);
    });
}

TEST(Futex, RobustListMarksHeldLocks) {
    run([] {
        TestTask t(62);
        const mm::UserAddress page = t.map(4096);
        const mm::UserAddress head = page, first = page + 64, second = page + 128, lock_offset = 16;
        t.write<uint64_t>(head, first);
        t.write<uint64_t>(head + 8, lock_offset);
        t.write<uint64_t>(head + 16, 0);
        t.write<uint64_t>(first, second);
        t.write<uint64_t>(second, first);  // circular without the head: the walk must end
        t.write<uint32_t>(first + lock_offset, 62 | 0x8000'0000);
        t.write<uint32_t>(second + lock_offset, 99);  // somebody else's
        t.task->robust_list = head;
        futex_thread_exit(*t.task);
        EXPECT_EQ(t.read<uint32_t>(first + lock_offset), 0xc000'0000u);
        EXPECT_EQ(t.read<uint32_t>(second + lock_offset), 99u);
    });
}

TEST(Clocks, Conversions) {
    EXPECT_EQ(to_nanoseconds({INT64_MAX, 0}), sched::kNever);
    EXPECT_EQ(to_nanoseconds({2, 5}), 2'000'000'005u);
    EXPECT_FALSE(is_valid({0, 1'000'000'000}));
    EXPECT_FALSE(is_valid({-1, 0}));
    EXPECT_EQ(saturating_add(sched::kNever, 5), sched::kNever);
    EXPECT_EQ(monotonic_of(99, 0).error(), Errno::kINVAL);
    EXPECT_EQ(monotonic_of(kClockThreadCpu, 0).error(), Errno::kOPNOTSUPP);
}

}  // namespace
}  // namespace kvmsbx::task
