#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "gofer/serve.hpp"

namespace kvmsbx::gofer {
namespace {

class SocketServer {
  public:
    SocketServer(Server& server, int socket, int lifeline)
        : server_(server), socket_(socket), lifeline_(lifeline), request_(server.msize()), reply_(server.msize()) {}

    ServeEnd run() {
        for (;;) {
            ServeEnd end;
            if (!receive(std::span(request_).first(p9::kHeaderSize), end)) return end;
            uint32_t size;
            memcpy(&size, request_.data(), sizeof size);  // little-endian, as the host is
            if (size < p9::kHeaderSize || size > request_.size()) return ServeEnd::kBadFrame;
            if (!receive(std::span(request_).subspan(p9::kHeaderSize, size - p9::kHeaderSize), end)) return end;
            uint32_t length = server_.handle(std::span(request_).first(size), reply_);
            for (uint32_t sent = 0; sent < length;) {
                ssize_t n = send(socket_, reply_.data() + sent, length - sent, MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR) continue;
                if (n <= 0) return ServeEnd::kPeerGone;
                sent += static_cast<uint32_t>(n);
            }
        }
    }

  private:
    bool receive(std::span<uint8_t> out, ServeEnd& end) {
        while (!out.empty()) {
            pollfd fds[2] = {{socket_, POLLIN, 0}, {lifeline_, POLLIN, 0}};
            if (poll(fds, 2, -1) < 0) {
                if (errno == EINTR) continue;
                end = ServeEnd::kHostError;
                return false;
            }
            end = ServeEnd::kPeerGone;
            if (fds[1].revents != 0) return false;
            ssize_t n = recv(socket_, out.data(), out.size(), 0);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            out = out.subspan(static_cast<size_t>(n));
        }
        return true;
    }

    Server& server_;
    int socket_, lifeline_;
    std::vector<uint8_t> request_, reply_;
};

}  // namespace

ServeEnd serve_socket(Server& server, int socket, int lifeline) { return SocketServer(server, socket, lifeline).run(); }

}  // namespace kvmsbx::gofer
