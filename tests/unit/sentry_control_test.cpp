// The Sentry's control server: requests as a monitor sends them, answers as it gets them, and a VMM without room.
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "common/wire/owned.hpp"
#include "guestkernel/control/frames.hpp"
#include "guestkernel/control/server.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/platform/test/machine.hpp"
#include "guestkernel/sched/quota.hpp"
#include "guestkernel/task/pids.hpp"
#include "guestkernel/task/registry.hpp"
#include "tests/unit/sentry_task.hpp"

namespace kvmsbx::control {
namespace {

constexpr int64_t kAgain = -11;

struct Answer {
    FrameHeader header;
    std::vector<uint8_t> body;
    template <typename M>
    M as() const {
        EXPECT_EQ(header.type, M::kType);
        return wire::decode<M>(body).release_value();
    }
};

// The VMM's side of the hypercalls.
class Vmm {
  public:
    Vmm() {
        platform::test::Machine::on_hypercall = [this](abi::HypercallNumber number, const uint64_t* arguments) {
            return answer(number, arguments);
        };
    }
    template <typename M>
    void request(uint64_t id, const M& message) {
        raw(id, M::kType, wire::encode(message));
    }
    void raw(uint64_t id, uint16_t type, const std::vector<uint8_t>& body, uint16_t descriptors = 0,
             uint32_t first_stream = 0) {
        FrameHeader header;
        header.size = static_cast<uint32_t>(kHeaderSize + body.size());
        header.type = type;
        header.id = id;
        header.descriptors = descriptors;
        header.first_stream = first_stream;
        const auto bytes = wire::encode(header);
        incoming.insert(incoming.end(), bytes.begin(), bytes.end());
        incoming.insert(incoming.end(), body.begin(), body.end());
        serve();
    }
    // Lets the server run.
    void serve() {
        host_event();
        for (int i = 0; i < 10; i++) sched::yield();
    }
    // The next answer; its header's id 0 and type 0: there is none.
    Answer next() {
        Answer answer;
        answer.header.type = 0;
        if (outgoing.size() < kHeaderSize) return answer;
        answer.header = decode_header(outgoing).release_value();
        if (outgoing.size() < answer.header.size) return answer;
        const auto end = outgoing.begin() + answer.header.size;
        answer.body.assign(outgoing.begin() + kHeaderSize, end);
        outgoing.erase(outgoing.begin(), end);
        return answer;
    }

    std::vector<uint8_t> incoming, outgoing;
    size_t room = ~size_t{0};
    std::set<uint64_t> closed;  // streams

  private:
    int64_t answer(abi::HypercallNumber number, const uint64_t* arguments) {
        void* at = arguments[0] >= abi::kRamGpa ? platform::phys_to_virt(arguments[0]) : nullptr;
        switch (number) {
            case abi::HypercallNumber::kControlRead: {
                const size_t size = std::min<size_t>(arguments[1], incoming.size());
                if (size == 0) return kAgain;
                memcpy(at, incoming.data(), size);
                incoming.erase(incoming.begin(), incoming.begin() + static_cast<ptrdiff_t>(size));
                return static_cast<int64_t>(size);
            }
            case abi::HypercallNumber::kControlWrite: {
                if (arguments[1] == 0) return 0;
                const size_t size = std::min<size_t>(arguments[1], room);
                if (size == 0) return kAgain;
                const auto* begin = static_cast<const uint8_t*>(at);
                outgoing.insert(outgoing.end(), begin, begin + size);
                room -= size;
                return static_cast<int64_t>(size);
            }
            case abi::HypercallNumber::kConsoleClose: closed.insert(arguments[0]); return 0;
            default: return -38;
        }
    }
};

// All in one: the server is the process's only one.
TEST(ControlServer, AnswersEveryRequestInOrder) {
    platform::test::Machine machine;
    Vmm vmm;
    machine.run([&] {
        EXPECT_TRUE(start_server().is_ok());
        task::TestTask first(1);
        task::register_process(*first.process);
        memcpy(first.task->name, "first", 6);

        vmm.request(1, Ps{});
        const Answer processes = vmm.next();
        EXPECT_EQ(processes.header.id, 1u);
        const auto list = processes.as<Processes<wire::Viewed>>();
        ASSERT_EQ(list.entries.size(), 1u);
        EXPECT_EQ(list.entries.front().pid, 1);
        EXPECT_EQ(list.entries.front().parent, 0);
        EXPECT_EQ(list.entries.front().threads, 1u);
        EXPECT_EQ(list.entries.front().command, "[first]");
        EXPECT_EQ(list.entries.front().terminal, "?");

        const auto place = task::PidCharge::take();  // of the first task
        vmm.request(2, Stats{});
        EXPECT_EQ(vmm.next().as<Usage>().pids, 1u);
        vmm.request(21, Update{{.pids = 7, .cpu_quota = 50'000, .cpu_period = 100'000}});
        vmm.next().as<Done>();
        vmm.request(22, Update{{.pids = 8, .cpu_quota = 50'000, .cpu_period = 10}});
        EXPECT_EQ(vmm.next().as<Failed<wire::Viewed>>().code, 125u);
        vmm.request(23, Stats{});
        EXPECT_EQ(vmm.next().as<Usage>().pids_limit, 7u);
        EXPECT_EQ(sched::cpu_quota().quota(), 50'000'000u);
        vmm.request(24, Update{});
        vmm.next().as<Done>();
        EXPECT_EQ(sched::cpu_quota().quota(), 0u);
        vmm.request(3, Stacks{});
        EXPECT_NE(vmm.next().as<Report<wire::Viewed>>().text.find("1/1 first"), std::string_view::npos);

        // What cannot be: each has an answer of its own, and the next request is served.
        vmm.request(4, Start{});
        vmm.request(5, Signal{.number = 0});
        vmm.request(6, Signal{.number = 65});
        vmm.request(7, Resize{.rows = 70'000});
        vmm.raw(8, Ps::kType, {1});
        vmm.raw(9, Ps::kType, {1, 2});
        vmm.raw(10, 999, {});
        vmm.raw(11, Exec<wire::Viewed>::kType, {1, 2, 3}, 3, 10);
        vmm.raw(12, Exec<wire::Viewed>::kType, {}, 3, kNoStream);
        vmm.raw(13, Ps::kType, {0, 0}, 2, 20);
        for (uint64_t id = 4; id <= 13; id++) {
            const Answer answer = vmm.next();
            EXPECT_EQ(answer.header.id, id);
            EXPECT_EQ(answer.as<Failed<wire::Viewed>>().code, 125u);
        }
        EXPECT_EQ(vmm.closed, (std::set<uint64_t>{10, 11, 12, 20, 21}));
        Exec<wire::Owned> exec;
        exec.process.args = {"sh"};
        vmm.raw(14, exec.kType, wire::encode(exec), 3, 30);  // the first process does not run
        EXPECT_EQ(vmm.next().as<Failed<wire::Viewed>>().code, 125u);
        EXPECT_EQ(vmm.closed.count(32), 1u);

        // A signal reaches the first process; its death is not this server's affair.
        vmm.request(15, Signal{.number = task::kSigUsr1, .all = true});
        vmm.next().as<Done>();
        EXPECT_FALSE(first.process->pending.set.has(task::kSigUsr1)) << "pid 1 without a handler is spared";
        vmm.request(18, Signal{.number = task::kSigKill, .all = true});
        vmm.next().as<Done>();
        EXPECT_TRUE(first.process->pending.set.has(task::kSigKill));

        // No room: what was begun goes out first, and nothing more is taken until then.
        vmm.room = 10;
        vmm.request(16, Stats{});
        vmm.request(17, Ps{});
        EXPECT_EQ(vmm.outgoing.size(), 10u);
        EXPECT_EQ(vmm.incoming.size(), size_t{kHeaderSize});
        vmm.room = 30;
        vmm.serve();
        EXPECT_EQ(vmm.outgoing.size(), 40u);
        vmm.room = ~size_t{0};
        vmm.serve();
        EXPECT_EQ(vmm.next().header.id, 16u);
        EXPECT_EQ(vmm.next().header.id, 17u);
        EXPECT_TRUE(vmm.incoming.empty());

        // No memory for an answer: an error in its place.
        send_out_of_memory(18);
        EXPECT_EQ(vmm.next().as<Failed<wire::Viewed>>().code, 125u);
        vmm.room = 0;
        send_out_of_memory(19);
        send_out_of_memory(20);  // the frame for it is under way
        vmm.room = ~size_t{0};
        vmm.serve();
        EXPECT_EQ(vmm.next().header.id, 19u);
        EXPECT_TRUE(vmm.outgoing.empty());
    });
}

}  // namespace
}  // namespace kvmsbx::control
