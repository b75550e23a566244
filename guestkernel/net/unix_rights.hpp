#pragma once
// Files that travel between processes (SCM_RIGHTS): while a packet holds them they are "in flight", counted per user
// (ETOOMANYREFS) and, for AF_UNIX sockets, per socket, so that cycles of sockets in each other's queues are found.
#include "guestkernel/lib/list.hpp"
#include "guestkernel/lib/vector.hpp"
#include "guestkernel/task/task.hpp"
#include "guestkernel/vfs/file.hpp"

namespace kvmsbx::net {

class UnixSocket;

// Of a socket: how often packets refer to it, and the marks of a collection.
struct FlightState {
    explicit FlightState(UnixSocket& owner) : socket(owner) {}
    UnixSocket& socket;
    uint32_t packets = 0;      // references from packets
    uint32_t unexplained = 0;  // of those, not from sockets that may be garbage
    bool suspect = false;
    ListHook flying_hook, work_hook;
};

// The files of one packet.
class Rights {
  public:
    Rights() = default;
    ~Rights() { clear(); }
    Rights(const Rights&) = delete;
    bool empty() const { return files_.empty(); }
    const Vector<RefPtr<vfs::File>>& files() const { return files_; }
    // Takes the files, which are in flight from now on, on the task's account. ETOOMANYREFS, ENOMEM.
    Result<> take_off(task::Task& task, Vector<RefPtr<vfs::File>>& files);
    Vector<RefPtr<vfs::File>> land();
    void clear();

  private:
    Vector<RefPtr<vfs::File>> files_;
    auth::Uid user_ = 0;
};

// Ends sockets that can never be reached again. Called when a socket ends and when files take off.
void collect_garbage();

}  // namespace kvmsbx::net
