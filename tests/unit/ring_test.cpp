#include "common/p9/ring.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <thread>

namespace kvmsbx::p9 {
namespace {

class Ring : public testing::Test {
  protected:
    void SetUp() override {
        void* memory = mmap(nullptr, abi::kChannelSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(memory, MAP_FAILED);
        region = {static_cast<uint8_t*>(memory), abi::kChannelSize};
        ASSERT_TRUE(driver.initialize(region).is_ok());
        ASSERT_TRUE(device.attach(region).is_ok());
    }
    void TearDown() override { munmap(region.data(), region.size()); }

    ChannelView view() { return ChannelView(region); }
    // Puts a head into the avail ring as a hostile driver would.
    void offer(uint16_t head) {
        uint16_t& index = view().avail().index;
        view().avail().ring[index % abi::kQueueSize] = head;
        index++;
    }
    void complete(uint32_t id, uint32_t length) {
        uint16_t& index = view().used().index;
        view().used().ring[index % abi::kQueueSize] = {id, length};
        index++;
    }
    Errno pop_error() {
        Chain chain;
        Result<bool> popped = device.pop(chain);
        EXPECT_TRUE(device.broken());
        return popped.error();
    }

    std::span<uint8_t> region;
    RingDriver driver;
    RingDevice device;
};

TEST_F(Ring, RefusesARegionTooSmallOrUnaligned) {
    RingDriver other;
    EXPECT_EQ(other.initialize(region.first(4096)).error(), Errno::kINVAL);
    EXPECT_EQ(other.initialize({region.data() + 1, region.size()}).error(), Errno::kINVAL);
}

TEST_F(Ring, HeaderIsChecked) {
    EXPECT_TRUE(device.check_header().is_ok());
    view().header().version++;
    EXPECT_EQ(device.check_header().error(), Errno::kPROTO);
}

TEST_F(Ring, CarriesRequestsAndRepliesForLongerThanTheIndexLasts) {
    for (int i = 0; i < 70000; i++) {
        uint32_t slot = driver.acquire().value();
        memcpy(driver.request(slot).data(), &i, sizeof i);
        driver.submit(slot, sizeof i);
        Chain chain;
        ASSERT_TRUE(device.pop(chain).value());
        ASSERT_EQ(chain.request.size(), sizeof i);
        memcpy(chain.reply.data(), chain.request.data(), sizeof i);
        device.push(chain, sizeof i);
        Completion done = driver.poll().value();
        ASSERT_EQ(done.slot, slot);
        ASSERT_EQ(done.length, sizeof i);
        ASSERT_EQ(memcmp(driver.reply(slot).data(), &i, sizeof i), 0);
        driver.release(slot);
    }
    EXPECT_EQ(driver.in_flight(), 0u);
}

TEST_F(Ring, AllSlotsCanBeInFlightAndCompleteOutOfOrder) {
    for (uint32_t i = 0; i < abi::kChannelSlots; i++) driver.submit(driver.acquire().value(), i);
    EXPECT_EQ(driver.acquire().error(), Errno::kAGAIN);
    Chain chains[abi::kChannelSlots];
    for (Chain& chain : chains) ASSERT_TRUE(device.pop(chain).value());
    for (uint32_t i = abi::kChannelSlots; i-- > 0;) device.push(chains[i], i);
    for (uint32_t i = abi::kChannelSlots; i-- > 0;) EXPECT_EQ(driver.poll().value().slot, i);
    EXPECT_EQ(driver.poll().value().slot, RingDriver::kNoSlot);
}

TEST_F(Ring, WakeUpsAreSuppressedUnlessArmed) {
    uint32_t slot = driver.acquire().value();
    driver.submit(slot, 1);
    EXPECT_TRUE(driver.kick_needed());  // the device has not said that it polls
    Chain chain;
    ASSERT_TRUE(device.pop(chain).value());
    uint32_t second = driver.acquire().value();
    driver.submit(second, 1);
    EXPECT_FALSE(driver.kick_needed());
    EXPECT_FALSE(device.arm());  // one is there already
    ASSERT_TRUE(device.pop(chain).value());
    EXPECT_TRUE(device.arm());
    driver.submit(driver.acquire().value(), 1);
    EXPECT_TRUE(driver.kick_needed());

    EXPECT_TRUE(driver.arm());
    device.push(chain, 0);
    EXPECT_TRUE(device.interrupt_needed());
    ASSERT_EQ(driver.poll().value().slot, second);
    ASSERT_TRUE(device.pop(chain).value());
    device.push(chain, 0);
    EXPECT_FALSE(device.interrupt_needed());
    EXPECT_FALSE(driver.arm());
}

TEST_F(Ring, DeviceRefusesAnIndexThatRunsAway) {
    view().avail().index = abi::kQueueSize + 1;
    EXPECT_EQ(pop_error(), Errno::kPROTO);
}

TEST_F(Ring, DeviceRefusesAHeadOutOfRange) {
    offer(abi::kQueueSize);
    EXPECT_EQ(pop_error(), Errno::kPROTO);
}

TEST_F(Ring, DeviceRefusesALoop) {
    view().descriptors()[0] = {abi::kSlotsOffset, 8, abi::kDescriptorNext, 0};
    offer(0);
    EXPECT_EQ(pop_error(), Errno::kPROTO);
}

TEST_F(Ring, DeviceRefusesALongerLoop) {
    view().descriptors()[0] = {abi::kSlotsOffset, 8, abi::kDescriptorNext, 1};
    view().descriptors()[1] = {abi::kSlotsOffset, 8, abi::kDescriptorNext | abi::kDescriptorWrite, 0};
    offer(0);
    EXPECT_EQ(pop_error(), Errno::kPROTO);
}

struct BadDescriptor {
    abi::Descriptor request, reply;
};

class BadChain : public Ring, public testing::WithParamInterface<BadDescriptor> {};

TEST_P(BadChain, IsRefused) {
    view().descriptors()[0] = GetParam().request;
    view().descriptors()[1] = GetParam().reply;
    offer(0);
    EXPECT_EQ(pop_error(), Errno::kPROTO);
}

constexpr abi::Descriptor kGoodRequest{abi::request_offset(0), 8, abi::kDescriptorNext, 1};
constexpr abi::Descriptor kGoodReply{abi::reply_offset(0), 8, abi::kDescriptorWrite, 0};

INSTANTIATE_TEST_SUITE_P(
    Descriptors, BadChain,
    testing::Values(
        BadDescriptor{{abi::kUsedOffset, 8, abi::kDescriptorNext, 1}, kGoodReply},           // over the rings
        BadDescriptor{kGoodRequest, {abi::kUsedOffset, 8, abi::kDescriptorWrite, 0}},        //
        BadDescriptor{kGoodRequest, {abi::kChannelSize - 4, 8, abi::kDescriptorWrite, 0}},   // over the end
        BadDescriptor{kGoodRequest, {~uint64_t{0} - 3, 8, abi::kDescriptorWrite, 0}},        // offset + length wraps
        BadDescriptor{kGoodRequest, {abi::reply_offset(0), ~0u, abi::kDescriptorWrite, 0}},  //
        BadDescriptor{kGoodRequest, {abi::reply_offset(0), 8, 0, 0}},                        // two readable ones
        BadDescriptor{{abi::request_offset(0), 8, abi::kDescriptorWrite, 1}, kGoodReply},    // writable only
        BadDescriptor{{abi::request_offset(0), 8, 0, 0}, kGoodReply},                        // no reply
        BadDescriptor{{abi::request_offset(0), 8, abi::kDescriptorNext, abi::kQueueSize}, kGoodReply},
        BadDescriptor{{abi::request_offset(0), 16, abi::kDescriptorIndirect, 0}, kGoodReply},
        BadDescriptor{{abi::request_offset(0), 16, abi::kDescriptorNext | abi::kDescriptorIndirect, 1}, kGoodReply}));

TEST_F(Ring, DriverRefusesCompletionsItDidNotAskFor) {
    struct Case {
        uint32_t id, length;
    };
    for (Case bad :
         {Case{1, 0}, Case{2, 0}, Case{2 * abi::kChannelSlots, 0}, Case{~0u, 0}, Case{0, abi::kSlotBufferSize + 1}}) {
        ASSERT_TRUE(driver.initialize(region).is_ok());
        driver.submit(driver.acquire().value(), 1);
        complete(bad.id, bad.length);
        EXPECT_EQ(driver.poll().error(), Errno::kPROTO) << bad.id;
        EXPECT_TRUE(driver.broken());
        EXPECT_EQ(driver.poll().error(), Errno::kPROTO);
    }
}

TEST_F(Ring, DriverRefusesTheSameCompletionTwice) {
    driver.submit(driver.acquire().value(), 1);
    driver.submit(driver.acquire().value(), 1);
    complete(0, 0);
    complete(0, 0);
    EXPECT_EQ(driver.poll().value().slot, 0u);
    EXPECT_EQ(driver.poll().error(), Errno::kPROTO);
}

TEST_F(Ring, DriverRefusesAnIndexThatRunsAway) {
    driver.submit(driver.acquire().value(), 1);
    view().used().index = 2;
    EXPECT_EQ(driver.poll().error(), Errno::kPROTO);
}

TEST_F(Ring, MisuseOfSlotsByTheOwnerIsHarmless) {
    uint32_t slot = driver.acquire().value();
    driver.submit(slot, abi::kSlotBufferSize + 1);
    driver.submit(abi::kChannelSlots, 1);
    EXPECT_EQ(driver.in_flight(), 0u);
    driver.submit(slot, 1);
    driver.submit(slot, 1);
    driver.release(slot);
    EXPECT_EQ(driver.in_flight(), 1u);
    EXPECT_EQ(driver.acquire().value(), 1u);
}

// Two threads that go to sleep whenever they can; a lost wake-up is a hang (the futex-like flags stand for the
// eventfds).
TEST_F(Ring, NoWakeUpIsLost) {
    constexpr int kRequests = 100000;
    std::atomic<int> doorbell{0}, completion{0};
    std::thread gofer([&] {
        int served = 0;
        while (served < kRequests) {
            Chain chain;
            if (device.pop(chain).value()) {
                device.push(chain, 0);
                served++;
                if (device.interrupt_needed()) {
                    completion.fetch_add(1);
                    completion.notify_one();
                }
            } else if (int seen = doorbell.load(); device.arm()) {
                doorbell.wait(seen);
            }
        }
    });
    int submitted = 0, done = 0;
    while (done < kRequests) {
        if (submitted < kRequests) {
            if (Result<uint32_t> slot = driver.acquire()) {
                driver.submit(slot.value(), 1);
                submitted++;
                if (submitted % 3 == 0 && driver.kick_needed()) {
                    doorbell.fetch_add(1);
                    doorbell.notify_one();
                }
                continue;
            }
        }
        if (driver.kick_needed()) {
            doorbell.fetch_add(1);
            doorbell.notify_one();
        }
        Completion next = driver.poll().value();
        if (next.slot != RingDriver::kNoSlot) {
            driver.release(next.slot);
            done++;
        } else if (int seen = completion.load(); driver.arm()) {
            completion.wait(seen);
        }
    }
    gofer.join();
    EXPECT_EQ(driver.in_flight(), 0u);
}

}  // namespace
}  // namespace kvmsbx::p9
