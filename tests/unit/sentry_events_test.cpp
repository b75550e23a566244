// epoll, eventfd and poll on the Sentry's scheduler in this process; texts of procfs.
#include <gtest/gtest.h>

#include <functional>

#include "guestkernel/fs/proc/nodes.hpp"
#include "guestkernel/ipc/epoll.hpp"
#include "guestkernel/ipc/eventfd.hpp"
#include "guestkernel/ipc/poll.hpp"
#include "guestkernel/platform/test/machine.hpp"

namespace kvmsbx::ipc {
namespace {

class Worker final : public sched::Thread {
  public:
    explicit Worker(std::function<void()> body) : body_(std::move(body)) {}
    void run() override {
        body_();
        body_ = nullptr;
        sched::exit_thread();
    }

  private:
    std::function<void()> body_;
};

void spawn(std::function<void()> body) {
    auto worker = make_ref<Worker>(std::move(body));
    ASSERT_TRUE(worker.value()->create_stack().is_ok());
    sched::start(*worker.value());
}

// A file whose readiness the test sets.
class Switch final : public vfs::File {
  public:
    Switch() : File(vfs::kORdwr) {}
    vfs::PollState poll() override { return {events, &queue}; }
    Result<String> describe() override { return String::create("switch"); }
    void set(uint32_t now) {
        events = now;
        queue.wake_all(now);
    }
    uint32_t events = 0;
    sched::WaitQueue queue;
};

EpollEvent event(uint32_t events, uint64_t data = 0) { return {events, data}; }

size_t ready(Epoll& epoll) {
    Epoll::Taken out[8];
    return epoll.wait(out, 0).value();
}

RefPtr<Switch> make_switch() { return make_ref<Switch>().release_value(); }
RefPtr<Epoll> make_epoll() { return make_ref<Epoll>(0).release_value(); }

TEST(Epoll, LevelEdgeAndOneshot) {
    platform::test::Machine machine;
    machine.run([] {
        const auto epoll = make_epoll();
        const auto level = make_switch(), edge = make_switch(), once = make_switch();
        ASSERT_TRUE(epoll->add(*level, 3, event(vfs::kPollIn)).is_ok());
        ASSERT_TRUE(epoll->add(*edge, 4, event(vfs::kPollIn | kEpollEdge)).is_ok());
        ASSERT_TRUE(epoll->add(*once, 5, event(vfs::kPollIn | kEpollOneshot)).is_ok());
        EXPECT_EQ(ready(*epoll), 0u);
        for (const auto& file : {level, edge, once}) file->set(vfs::kPollIn);
        EXPECT_EQ(ready(*epoll), 3u);
        EXPECT_EQ(ready(*epoll), 1u);
        edge->set(vfs::kPollIn);
        once->set(vfs::kPollIn);
        EXPECT_EQ(ready(*epoll), 2u);
        level->set(0);
        EXPECT_EQ(ready(*epoll), 0u);
        level->set(vfs::kPollHup);
        EXPECT_EQ(ready(*epoll), 1u) << "hang-up is always reported";
    });
}

TEST(Epoll, ForgetsAFileWithItsLastReference) {
    platform::test::Machine machine;
    machine.run([] {
        const auto epoll = make_epoll();
        auto file = make_switch();
        ASSERT_TRUE(epoll->add(*file, 3, event(vfs::kPollIn)).is_ok());
        EXPECT_EQ(epoll->add(*file, 3, event(vfs::kPollIn)).error(), Errno::kEXIST);
        ASSERT_TRUE(epoll->add(*file, 4, event(vfs::kPollIn)).is_ok());
        file->set(vfs::kPollIn);
        EXPECT_EQ(ready(*epoll), 2u);
        file = nullptr;
        EXPECT_EQ(ready(*epoll), 0u);
    });
}

TEST(Epoll, ExclusiveWaitersStayAfterAWake) {
    platform::test::Machine machine;
    machine.run([] {
        const auto one = make_epoll(), two = make_epoll();
        const auto file = make_switch();
        ASSERT_TRUE(one->add(*file, 3, event(vfs::kPollIn | kEpollExclusive)).is_ok());
        ASSERT_TRUE(two->add(*file, 3, event(vfs::kPollIn | kEpollExclusive)).is_ok());
        file->events = vfs::kPollIn;
        for (int round = 0; round < 4; ++round) {
            file->queue.wake_one(vfs::kPollIn);
            EXPECT_EQ(ready(*one) + ready(*two), round == 0 ? 1u : 2u);
        }
    });
}

TEST(Epoll, CirclesAndDeepNestingAreRefused) {
    platform::test::Machine machine;
    machine.run([] {
        const auto a = make_epoll(), b = make_epoll();
        ASSERT_TRUE(a->add(*b, 3, event(vfs::kPollIn)).is_ok());
        EXPECT_EQ(b->add(*a, 4, event(vfs::kPollIn)).error(), Errno::kLOOP);
        std::vector<RefPtr<Epoll>> chain{a};
        for (int i = 0; i < 10; ++i) {
            const auto next = make_epoll();
            if (next->add(*chain.back(), 5, event(vfs::kPollIn)).is_error()) break;
            chain.push_back(next);
        }
        EXPECT_EQ(chain.size() + 1, Epoll::kMaxNesting);
    });
}

TEST(Epoll, NestedEpollsWakeAWaiter) {
    platform::test::Machine machine;
    size_t got = 0;
    machine.run([&] {
        const auto inner = make_epoll(), outer = make_epoll();
        const auto file = make_switch();
        ASSERT_TRUE(inner->add(*file, 3, event(vfs::kPollIn)).is_ok());
        ASSERT_TRUE(outer->add(*inner, 4, event(vfs::kPollIn, 9)).is_ok());
        sched::WaitQueue done;
        spawn([&] {
            Epoll::Taken out[2];
            got = outer->wait(out, sched::kNever).value();
            done.wake_all();
        });
        sched::yield();
        EXPECT_EQ(got, 0u);
        file->set(vfs::kPollIn);
        EXPECT_TRUE(done.wait([&] { return got > 0; }).is_ok());
    });
    EXPECT_EQ(got, 1u);
}

TEST(Poll, WakesForOneOfManyAndTimesOut) {
    platform::test::Machine machine;
    int got = -1;
    machine.run([&] {
        std::vector<RefPtr<Switch>> files;
        for (int i = 0; i < 40; ++i) files.push_back(make_switch());
        const auto wait = [&](sched::Nanoseconds deadline) {
            std::vector<PollItem> items(files.size());
            for (size_t i = 0; i < files.size(); ++i) items[i] = {files[i], vfs::kPollIn, 0};
            return poll_items(items, 0, deadline).value();
        };
        EXPECT_EQ(wait(sched::now() + 1'000'000), 0);
        for (const auto& file : files) EXPECT_TRUE(file->queue.empty());
        sched::WaitQueue done;
        spawn([&] {
            got = wait(sched::kNever);
            done.wake_all();
        });
        sched::yield();
        files[33]->set(vfs::kPollIn);
        EXPECT_TRUE(done.wait([&] { return got >= 0; }).is_ok());
    });
    EXPECT_EQ(got, 1);
}

TEST(EventFd, BlocksAReaderUntilThereIsACount) {
    platform::test::Machine machine;
    uint64_t value = 0;
    machine.run([&] {
        const auto counter = make_ref<EventFd>(0, EventFd::Mode::kCounter, 0).release_value();
        sched::WaitQueue done;
        spawn([&] {
            auto to = mm::IoBuffer::kernel({reinterpret_cast<std::byte*>(&value), sizeof value});
            EXPECT_EQ(counter->read(to).value(), 8u);
            done.wake_all();
        });
        sched::yield();
        const uint64_t five = 5;
        auto from = mm::IoBuffer::kernel_readonly({reinterpret_cast<const std::byte*>(&five), sizeof five});
        EXPECT_EQ(counter->write(from).value(), 8u);
        EXPECT_TRUE(done.wait([&] { return value != 0; }).is_ok());
        EXPECT_EQ(counter->count(), 0u);
    });
    EXPECT_EQ(value, 5u);
}

TEST(ProcText, Pieces) {
    const auto cpus = [](uint64_t mask) {
        FixedText<64> text;
        fs::put_cpu_list(text, mask);
        return std::string(text.view());
    };
    EXPECT_EQ(cpus(1), "0");
    EXPECT_EQ(cpus(0b101110), "1-3,5");
    EXPECT_EQ(cpus(~0ULL), "0-63");
    FixedText<64> text;
    fs::put_octal(text, 0);
    text.put(" ");
    fs::put_octal(text, 022, 4);
    text.put("|");
    fs::put_left(text, "ab", 4);
    EXPECT_EQ(text.view(), "0 0022|ab  ");
    EXPECT_EQ(fs::trimmed(" \tname \n"), "name");
}

}  // namespace
}  // namespace kvmsbx::ipc
