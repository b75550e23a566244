#pragma once
// How the families of netlink answer (netlink(7)): each request with messages, with an NLMSG_ERROR, or with both.
#include "guestkernel/net/netlink_message.hpp"

namespace kvmsbx::net {

struct NetlinkAsker {
    uint32_t port;    // the socket's, to which the answers go
    bool privileged;  // CAP_NET_ADMIN
    bool strict;      // NETLINK_GET_STRICT_CHK
    bool capped_ack;  // NETLINK_CAP_ACK
};

// Where answers go, one datagram each.
class NetlinkSink {
  public:
    virtual void datagram(Result<Vector<std::byte>> bytes) = 0;

  protected:
    ~NetlinkSink() = default;
};

// The answers to one request.
class NetlinkAnswer {
  public:
    NetlinkAnswer(const NetlinkMessage& request, const NetlinkAsker& asker, NetlinkSink& sink)
        : request_(request), asker_(asker), sink_(sink) {}
    void run();

  protected:
    ~NetlinkAnswer() = default;
    // A request with a type that is the family's own. An error is told to the asker.
    virtual Result<> serve() = 0;
    // Starts a message of the answer.
    void begin(uint16_t type) { writer_.begin(type, dumped_ ? kNlmMulti : 0, request_.header.sequence, asker_.port); }
    void begin_dump() { dumped_ = true; }
    void end_dump();
    // What was written since the last time, as one datagram.
    void send();

    const NetlinkMessage& request_;
    const NetlinkAsker& asker_;
    NetlinkWriter writer_;

  private:
    void acknowledge(int32_t error);

    NetlinkSink& sink_;
    bool dumped_ = false;
};

// Answers every request in the bytes; hostile ones too.
template <typename Answer>
void answer_requests(std::span<const std::byte> bytes, const NetlinkAsker& asker, NetlinkSink& sink) {
    NetlinkReader reader(bytes);
    NetlinkMessage message;
    while (reader.next(message)) Answer(message, asker, sink).run();
}

}  // namespace kvmsbx::net
