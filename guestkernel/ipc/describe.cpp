#include "guestkernel/ipc/describe.hpp"

#include "guestkernel/ipc/eventfd.hpp"
#include "guestkernel/ipc/signalfd.hpp"

namespace kvmsbx::ipc {

void put_fdinfo(vfs::File& file, TextSink& sink) {
    if (const EventFd* event = EventFd::from(file)) format_to(sink, "eventfd-count: {16x}\n", event->count());
    if (const SignalFd* signals = SignalFd::from(file)) format_to(sink, "sigmask:\t{016x}\n", signals->mask().bits);
}

}  // namespace kvmsbx::ipc
