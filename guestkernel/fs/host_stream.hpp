#pragma once
// Streams of the host that applications use, by number (platform/host.hpp). A HostStream owns one: the host closes it
// with close() or the last reference. Reads and writes never block; who met EAGAIN is told when to try again.
#include <span>

#include "guestkernel/lib/ref.hpp"
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::fs {

class HostStream : public RefCounted {
  public:
    class User {
      public:
        // The stream can be read or written again. Must not block.
        virtual void host_ready() = 0;

      protected:
        ~User() = default;
    };

    explicit HostStream(unsigned number);
    ~HostStream() override { close(); }
    // May be told of a stream that is closed: its number came again.
    void set_user(User* user) { user_ = user; }

    Result<size_t> read(std::span<std::byte> to) { return platform::console_read(number, to); }
    Result<size_t> write(std::span<const std::byte> bytes) { return platform::console_write(number, bytes); }
    platform::StreamAccess access() const { return platform::console_access(number); }
    void close();

    const unsigned number;

  private:
    friend void host_stream_ready(uint64_t number);
    User* user_ = nullptr;
    bool open_ = true;
};

// HostEventType::kConsole.
void host_stream_ready(uint64_t number);

using HostStreams = Vector<RefPtr<HostStream>>;
// Streams with numbers in a row. ENOMEM: they are closed.
Result<HostStreams> take_streams(unsigned first, unsigned count);

}  // namespace kvmsbx::fs
