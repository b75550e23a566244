// The Sentry's frame allocator and heap, compiled for the host.
#include <benchmark/benchmark.h>

#include <vector>

#include "guestkernel/mm/frame.hpp"
#include "guestkernel/platform/test/machine.hpp"

namespace {

using namespace kvmsbx;

// The allocator belongs to the Sentry's CPU: the whole measurement runs inside.
template <typename Body>
void in_sentry(Body body) {
    platform::test::Machine machine;
    machine.run(body);
}

void frame_allocate_release(benchmark::State& state) {
    in_sentry([&] {
        for (auto _ : state) {
            mm::Frame* frame = mm::allocate_frame(mm::Zero::kNo).value();
            benchmark::DoNotOptimize(frame);
            mm::release(frame);
        }
    });
}
BENCHMARK(frame_allocate_release);

void frames_in_bulk(benchmark::State& state) {
    in_sentry([&] {
        std::vector<mm::Frame*> frames(static_cast<size_t>(state.range(0)));
        for (auto _ : state) {
            for (auto& frame : frames) frame = mm::allocate_frame(mm::Zero::kNo).value();
            for (auto* frame : frames) mm::release(frame);
        }
        state.SetItemsProcessed(state.iterations() * state.range(0));
    });
}
BENCHMARK(frames_in_bulk)->Arg(512)->Arg(4096);

void huge_allocate_release(benchmark::State& state) {
    in_sentry([&] {
        for (auto _ : state) mm::release_contiguous(mm::allocate_huge(mm::Zero::kNo).value(), 512);
    });
}
BENCHMARK(huge_allocate_release);

}  // namespace

BENCHMARK_MAIN();
