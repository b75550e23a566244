#pragma once
// The other side of a measurement between two tasks: a child process that answers, and the questions to it.
#include <sys/types.h>
#include <cstdint>

namespace bench {

// Two descriptors of one task: what it sends to and what it receives from (the same one, if it is a socket).
struct Ends {
    int send, receive;
};

// A child of fork that dies with its parent; `what` names it in the message if there is none. 0 in the child.
pid_t start_child(const char* what);

// Gives back each byte until the end of the input.
void echo(Ends ends);

// A byte to an echo and back, `operations` times.
void round_trips(Ends ends, uint64_t operations);

// A block travels one way. The receiver hears first how many come, and answers with a byte when it has them all, so
// that what is still on its way is not counted as delivered.
constexpr uint64_t kBlock = 65536;
void swallow(Ends ends);
void send_blocks(Ends ends, uint64_t operations);

// Two pipes between two tasks.
struct PipePair {
    Ends near, far;
};
PipePair make_pipes();

}  // namespace bench
