#include "guestkernel/fs/host_stream.hpp"

#include "common/control/messages.hpp"

namespace kvmsbx::fs {
namespace {

HostStream* streams[control::kMaxStreams];  // those that are open

}  // namespace

HostStream::HostStream(unsigned number) : number(number) {
    VERIFY(number < control::kMaxStreams);
    streams[number] = this;
}

void HostStream::close() {
    if (!open_) return;
    open_ = false;
    streams[number] = nullptr;
    platform::console_close(number);
}

void host_stream_ready(uint64_t number) {
    if (number >= control::kMaxStreams || !streams[number] || !streams[number]->user_) return;
    streams[number]->user_->host_ready();
}

Result<HostStreams> take_streams(unsigned first, unsigned count) {
    HostStreams taken;
    Errno error{};
    for (unsigned number = first; number < first + count; ++number) {
        auto stream = make_ref<HostStream>(number);
        if (stream.is_error()) {
            platform::console_close(number);
            error = stream.error();
        } else if (auto kept = taken.push_back(stream.release_value()); kept.is_error()) {
            error = kept.error();
        }
    }
    if (error != Errno{}) return error;
    return taken;
}

}  // namespace kvmsbx::fs
