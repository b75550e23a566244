#include "bench/guest/peers.hpp"

#include <sys/prctl.h>
#include <unistd.h>
#include <csignal>

#include "bench/guest/bench_guest.hpp"

namespace bench {
namespace {

char block[kBlock];

// false at the end of the input.
bool read_all(int fd, void* to, uint64_t size) {
    auto* at = static_cast<char*>(to);
    while (size > 0) {
        ssize_t got = read(fd, at, size);
        if (got <= 0) return false;
        at += got;
        size -= static_cast<uint64_t>(got);
    }
    return true;
}

void write_all(int fd, const void* from, uint64_t size) {
    const auto* at = static_cast<const char*>(from);
    while (size > 0) {
        ssize_t put = write(fd, at, size);
        if (put <= 0) die("write to the peer");
        at += put;
        size -= static_cast<uint64_t>(put);
    }
}

}  // namespace

pid_t start_child(const char* what) {
    pid_t pid = fork();
    if (pid < 0) die(what);
    if (pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

void echo(Ends ends) {
    char byte;
    while (read(ends.receive, &byte, 1) == 1)
        if (write(ends.send, &byte, 1) != 1) break;
}

void round_trips(Ends ends, uint64_t operations) {
    char byte = 'x';
    for (uint64_t i = 0; i < operations; i++)
        if (write(ends.send, &byte, 1) != 1 || read(ends.receive, &byte, 1) != 1) die("round trip");
}

void swallow(Ends ends) {
    uint64_t blocks;
    while (read_all(ends.receive, &blocks, sizeof(blocks))) {
        for (uint64_t i = 0; i < blocks; i++)
            if (!read_all(ends.receive, block, kBlock)) return;
        write_all(ends.send, "d", 1);
    }
}

void send_blocks(Ends ends, uint64_t operations) {
    write_all(ends.send, &operations, sizeof(operations));
    for (uint64_t i = 0; i < operations; i++) write_all(ends.send, block, kBlock);
    char done;
    if (!read_all(ends.receive, &done, 1)) die("the receiver's answer");
}

PipePair make_pipes() {
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0) die("pipe");
    return {.near = {there[1], back[0]}, .far = {back[1], there[0]}};
}

}  // namespace bench
