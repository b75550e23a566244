// Threads, wait queues, timers of the Sentry's scheduler, on real Sentry stacks in this process.
#include "guestkernel/sched/sched.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "guestkernel/platform/test/machine.hpp"

namespace kvmsbx::sched {
namespace {

class Worker final : public Thread {
  public:
    explicit Worker(std::function<void()> body) : body_(std::move(body)) {}
    void run() override {
        body_();
        body_ = nullptr;
        exit_thread();
    }

  private:
    std::function<void()> body_;
};

void spawn(std::function<void()> body) {
    auto worker = make_ref<Worker>(std::move(body));
    ASSERT_TRUE(worker.value()->create_stack().is_ok());
    start(*worker.value());
}

TEST(Sched, WakeOneWakesInOrderOfArrival) {
    platform::test::Machine machine;
    std::vector<int> order;
    machine.run([&] {
        WaitQueue queue;
        int ready = 0;
        for (int i = 0; i < 3; ++i)
            spawn([&, i] {
                EXPECT_TRUE(queue.wait([&] { return ready > 0; }).is_ok());
                --ready;
                order.push_back(i);
            });
        yield();  // all three wait now
        for (int i = 0; i < 3; ++i) {
            ++ready;
            queue.wake_one();
            yield();
        }
        EXPECT_TRUE(queue.empty());
    });
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(Sched, WaitEndsAtItsDeadline) {
    platform::test::Machine machine;
    machine.run([] {
        WaitQueue queue;
        const Nanoseconds deadline = now() + 2'000'000;
        EXPECT_EQ(queue.wait([] { return false; }, Interruptible::kYes, deadline).error(), Errno::kTIMEDOUT);
        EXPECT_GE(now(), deadline);
        EXPECT_TRUE(queue.empty());
    });
}

TEST(Sched, MutexKeepsOthersOutAcrossABlock) {
    platform::test::Machine machine;
    std::vector<int> order;
    machine.run([&] {
        Mutex mutex;
        WaitQueue never;
        for (int i = 0; i < 2; ++i)
            spawn([&, i] {
                MutexGuard guard(mutex);
                order.push_back(i);
                EXPECT_EQ(never.wait([] { return false; }, Interruptible::kNo, now() + 1'000'000).error(),
                          Errno::kTIMEDOUT);
                order.push_back(i);
            });
        EXPECT_TRUE(never.wait([&] { return order.size() == 4; }, Interruptible::kNo, now() + 50'000'000).is_ok());
    });
    EXPECT_EQ(order, (std::vector<int>{0, 0, 1, 1}));
}

TEST(Sched, TimersFireInOrderAndCancelledOnesDoNot) {
    platform::test::Machine machine;
    machine.run([] {
        struct Note final : Timer {
            std::vector<int>* fired;
            int id;
            void fire() override { fired->push_back(id); }
        };
        std::vector<int> fired;
        Note a, b, c;
        a.fired = b.fired = c.fired = &fired;
        a.id = 1, b.id = 2, c.id = 3;
        a.arm(now() + 3'000'000);
        b.arm(now() + 1'000'000);
        c.arm(now() + 2'000'000);
        c.cancel();
        WaitQueue queue;
        EXPECT_EQ(queue.wait([] { return false; }, Interruptible::kNo, now() + 6'000'000).error(), Errno::kTIMEDOUT);
        EXPECT_EQ(fired, (std::vector<int>{2, 1}));
    });
}

}  // namespace
}  // namespace kvmsbx::sched
