#pragma once
// The two transports: the virtqueue of the channel region, and 9P over a connected stream socket. Each serves until the
// other side is gone.
#include <span>

#include "gofer/server.hpp"

namespace kvmsbx::gofer {

enum class ServeEnd {
    kPeerGone,       // lifeline or socket closed: the ordinary end
    kBadHeader,      // the channel region has no header of this version at the first doorbell
    kRingViolation,  // the Sentry broke the rules of the ring, or offered a reply buffer that holds no reply
    kBadFrame,       // a frame of the socket is larger than msize or smaller than a header
    kHostError,      // errno says what the host's poll, read or write gave
};

struct RingTransport {
    std::span<uint8_t> region;
    int doorbell;    // eventfd, guest -> gofer
    int completion;  // eventfd, gofer -> guest
    int lifeline;    // a pipe's read end whose EOF ends the service; -1: none
    bool may_poll;   // there is a second CPU, so that polling takes it from nobody who makes the next request
};

ServeEnd serve_ring(Server& server, const RingTransport& transport);
ServeEnd serve_socket(Server& server, int socket, int lifeline);

}  // namespace kvmsbx::gofer
