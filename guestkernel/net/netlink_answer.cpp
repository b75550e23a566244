#include "guestkernel/net/netlink_answer.hpp"

namespace kvmsbx::net {

void NetlinkAnswer::run() {
    const NetlinkHeader& header = request_.header;
    const bool asks = (header.flags & kNlmRequest) && header.type >= kNlmsgFirstType;
    const Result<> result = asks ? serve() : Result<>();
    const int32_t error = result.is_error() ? -static_cast<int32_t>(result.error()) : 0;
    if (error || ((header.flags & kNlmAck) && !dumped_)) acknowledge(error);
}

void NetlinkAnswer::acknowledge(int32_t error) {
    writer_ = {};
    const bool capped = !error || asker_.capped_ack;
    writer_.begin(kNlmsgError, capped ? kNlmCapped : 0, request_.header.sequence, asker_.port);
    writer_.put(error);
    if (capped)
        writer_.put(request_.header);
    else
        writer_.put_bytes(request_.all.data(), request_.all.size());
    send();
}

void NetlinkAnswer::send() {
    if (!writer_.empty()) sink_.datagram(writer_.take());
    writer_ = {};
}

void NetlinkAnswer::end_dump() {
    send();
    begin(kNlmsgDone);
    writer_.put(int32_t{0});
    send();
}

}  // namespace kvmsbx::net
