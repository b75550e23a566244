#pragma once
// Standard streams of a container without a terminal: three one-way byte streams to the host, which behave like pipes
// (pipe(7)). The host's end is reached by hypercalls that never block; HostEventType::kConsole tells when a stream that
// answered EAGAIN can go on.
//
// A HostStream is the one end per stream number that all its Files share. Input is read ahead into a ring, so that poll
// and FIONREAD know what is there. Output is not buffered: a bounce ring holds one write's bytes while the hypercall
// takes them; `busy` lets one writer at a time use it.
#include "guestkernel/fs/tty/byte_ring.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::fs {

struct HostStream {
    explicit HostStream(unsigned number) : number(number) {}
    const unsigned number;  // 0 stdin, 1 stdout, 2 stderr
    ByteRing ring;
    bool ended = false;    // 0: end of file came
    bool broken = false;   // 1, 2: the reader is gone
    bool blocked = false;  // 1, 2: EAGAIN, no event since
    bool busy = false;
    sched::WaitQueue changed;

    void fill();        // reads ahead what the host has
    void host_ready();  // HostEventType::kConsole
};

HostStream& host_stream(unsigned number);

// A File on a stream (0..2), with an inode (a FIFO) so that /dev/stdout can open it anew.
// owner: whose uid and gid it shows.
Result<RefPtr<vfs::File>> open_console_stream(unsigned number, const auth::Credentials& owner);

}  // namespace kvmsbx::fs
