// Bytes of a monitor: through the VMM's control channel, and what comes out of it through the decoders of every
// message, as the Sentry has them. The first byte says how they are cut.
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>

#include "common/wire/owned.hpp"
#include "vmm/control_channel.hpp"

using namespace kvmsbx;

namespace {

// Visits every element of what was decoded, as readers do.
struct Reader {
    size_t bytes = 0;
    template <typename... Fields>
    void operator()(const Fields&... fields) {
        (look(fields), ...);
    }
    void look(std::string_view text) { bytes += text.size(); }
    template <wire::Integer T>
    void look(const T&) {}
    void look(bool) {}
    template <wire::Structure T>
    void look(const T& structure) {
        structure.visit(*this);
    }
    template <typename T>
    void look(const wire::Sequence<T>& list) {
        for (const auto& item : list) look(item);
    }
};

template <typename M>
void decode_as(std::span<const uint8_t> body) {
    const auto message = wire::decode<M>(body);
    if (message.is_error()) return;
    Reader reader;
    message.value().visit(reader);
    if (reader.bytes > body.size()) abort();
}

void decode(std::span<const uint8_t> body) {
    using wire::Viewed;
    decode_as<control::Start>(body);
    decode_as<control::Exec<Viewed>>(body);
    decode_as<control::Signal>(body);
    decode_as<control::Resize>(body);
    decode_as<control::Update>(body);
    decode_as<control::Crash>(body);
    decode_as<control::Failed<Viewed>>(body);
    decode_as<control::Exited>(body);
    decode_as<control::Processes<Viewed>>(body);
    decode_as<control::Usage>(body);
    decode_as<control::Report<Viewed>>(body);
    decode_as<spec::SandboxSpec<Viewed>>(body);
}

// Whole frames, one behind the other, of the announced sizes.
void check(std::span<const uint8_t> frames) {
    while (!frames.empty()) {
        const auto header = control::decode_header(frames);
        if (header.is_error() || header.value().size > frames.size()) abort();
        decode(frames.subspan(control::kHeaderSize, header.value().size - control::kHeaderSize));
        frames = frames.subspan(header.value().size);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
    const host::Fd monitor(ends[0]), ours(ends[1]), wake(eventfd(0, EFD_NONBLOCK));
    vmm::Console console({}, wake.get());
    vmm::ControlChannel channel(ours.get(), console, wake.get());
    std::vector<uint8_t> taken;
    const size_t step = data[0] + 1u;
    std::span<const uint8_t> rest(data + 1, size - 1);
    while (!rest.empty()) {
        const size_t part = std::min(step, rest.size());
        if (send(monitor.get(), rest.data(), part, MSG_DONTWAIT) != static_cast<ssize_t>(part)) abort();
        rest = rest.subspan(part);
        channel.wanted();
        if (channel.receive() == vmm::ControlChannel::Received::kBadFrame) break;
        const auto take = [&](std::span<const std::byte> bytes) -> Result<> {
            const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data());
            taken.insert(taken.end(), begin, begin + bytes.size());
            return {};
        };
        while (channel.read(step, take).is_ok()) continue;
    }
    check(taken);
    decode({data + 1, size - 1});
    return 0;
}
