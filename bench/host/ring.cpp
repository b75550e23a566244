// The virtqueue between Sentry and gofer: one request and its reply within one thread, and between two threads that
// poll.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <atomic>
#include <thread>

#include "common/p9/ring.hpp"

namespace {

using namespace kvmsbx;

struct Channel {
    std::span<uint8_t> region;
    p9::RingDriver driver;
    p9::RingDevice device;

    Channel() {
        void* memory = mmap(nullptr, abi::kChannelSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        region = {static_cast<uint8_t*>(memory), abi::kChannelSize};
        if (memory == MAP_FAILED || !driver.initialize(region).is_ok() || !device.attach(region).is_ok()) abort();
    }
    ~Channel() { munmap(region.data(), region.size()); }
};

constexpr uint32_t kRequestSize = 64, kReplySize = 160;

void submit_one(p9::RingDriver& driver) {
    uint32_t slot = driver.acquire().value();
    driver.request(slot)[0] = 1;
    driver.submit(slot, kRequestSize);
    benchmark::DoNotOptimize(driver.kick_needed());
}

void serve_one(p9::RingDevice& device, const p9::Chain& chain) {
    chain.reply[0] = chain.request[0];
    device.push(chain, kReplySize);
    benchmark::DoNotOptimize(device.interrupt_needed());
}

void request_in_one_thread(benchmark::State& state) {
    Channel channel;
    for (auto _ : state) {
        submit_one(channel.driver);
        p9::Chain chain;
        if (!channel.device.pop(chain).value()) state.SkipWithError("nothing to pop");
        serve_one(channel.device, chain);
        channel.driver.release(channel.driver.poll().value().slot);
    }
}
BENCHMARK(request_in_one_thread);

void requests_in_batches(benchmark::State& state) {
    Channel channel;
    const auto batch = static_cast<int>(state.range(0));
    for (auto _ : state) {
        for (int i = 0; i < batch; i++) submit_one(channel.driver);
        for (int i = 0; i < batch; i++) {
            p9::Chain chain;
            if (!channel.device.pop(chain).value()) state.SkipWithError("nothing to pop");
            serve_one(channel.device, chain);
        }
        for (int i = 0; i < batch; i++) channel.driver.release(channel.driver.poll().value().slot);
    }
    state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK(requests_in_batches)->Arg(4)->Arg(16);

void round_trip_between_polling_threads(benchmark::State& state) {
    Channel channel;
    std::atomic<bool> stop{false};
    std::thread server([&] {
        while (!stop.load(std::memory_order_relaxed)) {
            p9::Chain chain;
            if (channel.device.pop(chain).value()) serve_one(channel.device, chain);
        }
    });
    for (auto _ : state) {
        submit_one(channel.driver);
        p9::Completion done;
        do done = channel.driver.poll().value();
        while (done.slot == p9::RingDriver::kNoSlot);
        channel.driver.release(done.slot);
    }
    stop = true;
    server.join();
}
BENCHMARK(round_trip_between_polling_threads)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
