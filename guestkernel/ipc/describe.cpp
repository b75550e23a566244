#include "guestkernel/ipc/describe.hpp"

#include "guestkernel/ipc/eventfd.hpp"
#include "guestkernel/ipc/inotify.hpp"
#include "guestkernel/ipc/signalfd.hpp"
#include "guestkernel/task/pidfd.hpp"

namespace kvmsbx::ipc {

void put_fdinfo(vfs::File& file, TextSink& sink) {
    if (const EventFd* event = EventFd::from(file)) format_to(sink, "eventfd-count: {16x}\n", event->count());
    if (const task::PidFd* process = task::PidFd::from(file))
        format_to(sink, "Pid:\t{}\nNSpid:\t{}\n", process->number(), process->number());
    if (const Inotify* inotify = Inotify::from(file)) inotify->put_fdinfo(sink);
    if (const SignalFd* signals = SignalFd::from(file)) format_to(sink, "sigmask:\t{016x}\n", signals->mask().bits);
}

}  // namespace kvmsbx::ipc
