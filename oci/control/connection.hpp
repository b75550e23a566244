#pragma once
// One end of a control connection (common/control/messages.hpp): frames with descriptors over a stream socket. What the
// other side sends is hostile: sizes are capped, and descriptors that nobody asked for are closed.
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/control/messages.hpp"
#include "common/host/fd.hpp"
#include "common/wire/owned.hpp"

namespace kvmsbx::oci {

struct Frame {
    control::FrameHeader header;
    std::vector<uint8_t> body;
    std::vector<host::Fd> descriptors;

    template <typename M>
    bool is() const {
        return header.type == M::kType;
    }
    // kPROTO: of another type, or malformed. Views in the result point into `body`.
    template <typename M>
    Result<M> as() const {
        if (!is<M>()) return Errno::kPROTO;
        return wire::decode<M>(body);
    }
};

class ControlConnection {
  public:
    enum class Mode { kBlocking, kNonBlocking };
    // What may wait to be sent to a reader that does not read.
    static constexpr size_t kMostUnsent = control::kMaxFrame + (1 << 20);

    ControlConnection() = default;
    ControlConnection(host::Fd socket, Mode mode);

    int fd() const { return socket_.get(); }
    bool is_open() const { return socket_.is_open(); }
    void close() { socket_.reset(); }
    bool wants_to_send() const { return !unsent_.empty(); }

    // Sends, or queues what cannot be sent now (kNonBlocking). Descriptors stay the caller's; they are duplicated for a
    // frame that has to wait. kPIPE: the other side is gone; kNOBUFS: too much is unsent; kINVAL: larger than a frame may
    // be.
    template <typename M>
    Result<> send(uint64_t id, const M& message, std::span<const int> descriptors = {}) {
        std::vector<uint8_t> bytes(control::encode_frame({}, id, message));
        if (bytes.size() > control::kMaxFrame) return Errno::kINVAL;
        control::encode_frame(bytes, id, message, static_cast<uint16_t>(descriptors.size()));
        return send_bytes(std::move(bytes), descriptors);
    }
    // A frame that came from another connection, with another id.
    Result<> forward(const Frame& frame, uint64_t id);
    // Sends what was queued, as far as the other side takes it.
    Result<> flush();

    // The next frame; none: not all of it is there (kNonBlocking). kPIPE: the other side has closed; kPROTO: it does not
    // speak the protocol. After an error the connection is of no more use.
    Result<std::optional<Frame>> receive();
    // The same out of what was read already, which no poll() tells of.
    Result<std::optional<Frame>> take_frame();

  private:
    struct Unsent {
        std::vector<uint8_t> bytes;
        size_t sent = 0;
        std::vector<host::Fd> descriptors;
    };

    Result<> send_bytes(std::vector<uint8_t> bytes, std::span<const int> descriptors);
    Result<bool> send_some(Unsent& unsent);
    Result<bool> read_some();

    host::Fd socket_;
    Mode mode_ = Mode::kBlocking;
    std::deque<Unsent> unsent_;
    size_t unsent_bytes_ = 0;
    std::vector<uint8_t> received_;
    std::deque<host::Fd> received_descriptors_;
};

}  // namespace kvmsbx::oci
