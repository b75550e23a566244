// The 9P codec alone: what one encode and one decode cost, for the messages of a path walk, a stat and a read.
#include <benchmark/benchmark.h>

#include <array>

#include "common/p9/codec.hpp"

namespace {

using namespace kvmsbx;

std::array<uint8_t, 65536 + 64> buffer;

p9::Twalk walk_message() {
    p9::Twalk walk;
    walk.fid = 1;
    walk.newfid = 2;
    for (std::string_view name : {"usr", "lib", "x86_64-linux-gnu", "libc.so.6"}) walk.names.push(name);
    return walk;
}

template <typename Message>
void encode(benchmark::State& state, const Message& message) {
    uint32_t size = 0;
    for (auto _ : state) {
        size = p9::encode(std::span<uint8_t>(buffer), 7, message).value();
        benchmark::DoNotOptimize(buffer);
    }
    state.counters["bytes"] = size;
}

template <typename Message>
void decode(benchmark::State& state, const Message& message) {
    uint32_t size = p9::encode(std::span<uint8_t>(buffer), 7, message).value();
    for (auto _ : state) {
        Message decoded;
        if (!p9::decode(std::span<const uint8_t>(buffer).first(size), decoded).is_ok())
            state.SkipWithError("decode failed");
        benchmark::DoNotOptimize(decoded);
    }
}

void encode_walk(benchmark::State& state) { encode(state, walk_message()); }
void decode_walk(benchmark::State& state) { decode(state, walk_message()); }
void encode_getattr_reply(benchmark::State& state) { encode(state, p9::Rgetattr()); }
void decode_getattr_reply(benchmark::State& state) { decode(state, p9::Rgetattr()); }
BENCHMARK(encode_walk);
BENCHMARK(decode_walk);
BENCHMARK(encode_getattr_reply);
BENCHMARK(decode_getattr_reply);

// The payload lies in the buffer already, as the gofer reads files.
void encode_read_reply_in_place(benchmark::State& state) {
    p9::Rread reply;
    reply.data.bytes =
        std::span<const uint8_t>(buffer).subspan(p9::data_offset<p9::Rread>(), static_cast<size_t>(state.range(0)));
    encode(state, reply);
}
BENCHMARK(encode_read_reply_in_place)->Arg(64)->Arg(65536 - 16);

void decode_shared_read_reply(benchmark::State& state) {
    p9::Rread reply;
    reply.data.bytes =
        std::span<const uint8_t>(buffer).subspan(p9::data_offset<p9::Rread>(), static_cast<size_t>(state.range(0)));
    uint32_t size = p9::encode(std::span<uint8_t>(buffer), 7, reply).value();
    for (auto _ : state) {
        p9::Rread decoded;
        if (!p9::decode_shared(std::span<const uint8_t>(buffer).first(size), decoded).is_ok())
            state.SkipWithError("decode failed");
        benchmark::DoNotOptimize(decoded);
    }
}
BENCHMARK(decode_shared_read_reply)->Arg(64)->Arg(65536 - 16);

}  // namespace

BENCHMARK_MAIN();
