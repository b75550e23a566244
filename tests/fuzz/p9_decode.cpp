// The 9P decoder, as the gofer uses it on requests and the Sentry on replies. The input is a stream of messages: each
// is decoded as every type, printed, and, where it decodes, encoded again to the same bytes.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "common/p9/codec.hpp"
#include "common/p9/describe.hpp"

namespace {

using namespace kvmsbx::p9;

void require(bool condition) {
    if (!condition) abort();
}

void entries(std::span<const uint8_t> data) {
    std::span<const uint8_t> rest = data;
    DirEntry entry;
    while (next_entry(rest, entry).value_or(false)) {}
    DirEntryAttr entry_attr;
    while (next_entry(data, entry_attr).value_or(false)) {}
}

template <typename M>
void decode_as(std::span<const uint8_t> bytes) {
    M message;
    if constexpr (requires { message.data; }) {
        M in_place;
        bool good = decode_shared(bytes, in_place).is_ok();
        (void)decode_shared_reply(bytes, message);
        require(good == decode(bytes, message).is_ok());
        if (good) entries(in_place.data.bytes);
    }
    if (decode(bytes, message).is_error()) return;
    std::vector<uint8_t> again(bytes.size() + 4);
    Header header = decode_header(bytes).value();
    uint32_t size = encode(again, header.tag, message).value();
    bool completed = M::kType == Tfsync::kType && size == bytes.size() + 4;  // a field that may be left out is written
    require(completed || (size == bytes.size() && memcmp(again.data(), bytes.data(), size) == 0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::span<const uint8_t> rest(data, size);
    while (!rest.empty()) {
        auto header = decode_header(rest);
        size_t length = header.is_ok() ? header->size : rest.size();
        // A copy of its own, so that ASan sees a byte read too far.
        std::vector<uint8_t> message(rest.begin(), rest.begin() + static_cast<long>(length));
        rest = rest.subspan(length);
        AllMessages::for_each([&]<typename M>() { decode_as<M>(message); });
        char text[300];
        require(describe(message, text) <= sizeof text);
        entries(message);
    }
    return 0;
}
