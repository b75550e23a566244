// Requests of NETLINK_ROUTE and NETLINK_GENERIC, which applications write: any bytes give well-formed answers to the
// asker, and no more than a few for each request.
#include <cstdlib>
#include <cstring>

#include "guestkernel/net/netlink_generic.hpp"
#include "guestkernel/net/netlink_route.hpp"

using namespace kvmsbx;
using namespace kvmsbx::net;

namespace {

void check(bool promise) {
    if (!promise) abort();
}

struct Answers final : NetlinkSink {
    size_t count = 0;
    void datagram(Result<Vector<std::byte>> bytes) override {
        check(bytes.is_ok());
        ++count;
        size_t messages = 0, end = 0;
        NetlinkReader reader(bytes.value().span());
        NetlinkMessage message;
        while (reader.next(message)) {
            ++messages;
            end = netlink_align(end) + message.header.length;
            check(message.header.port == 42);
        }
        check(messages > 0 && netlink_align(end) >= bytes.value().size());
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    for (const auto answer : {answer_route_requests, answer_generic_requests})
        for (unsigned flags = 0; flags < 8; ++flags) {
            Answers answers;
            answer(bytes, {42, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0}, answers);
            check(answers.count <= size / sizeof(NetlinkHeader) * 2);
        }
    return 0;
}
