// Meets the host's limits from inside a sandbox, and says what it was told.
//   forker fork MOST      forks until that fails, at most MOST times; then each child runs two threads at once; then all end, and it forks again
//   forker eat MIB        writes to so much memory
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int kTurns = 4, kMostChildren = 1000, kThreaded = 6;

[[noreturn]] void fail(const char* what) {
    printf("FAIL: %s: %s\n", what, strerror(errno));
    exit(1);
}

int turn;

// Without a system call: each thread waits until the other has run.
void take_turns(int mine) {
    for (int next = mine; next < 2 * kTurns; next += 2) {
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != next) {}
        __atomic_store_n(&turn, next + 1, __ATOMIC_RELEASE);
    }
}

void* second_thread(void*) {
    take_turns(1);
    return nullptr;
}

struct Pipe {
    int ends[2];
    Pipe() {
        if (pipe(ends) != 0) fail("pipe");
    }
    bool get() const {
        char byte;
        return read(ends[0], &byte, 1) == 1;
    }
    bool comes() const {
        pollfd polled{ends[0], POLLIN, 0};
        return poll(&polled, 1, 50) == 1;
    }
    void put() const {
        if (write(ends[1], "x", 1) != 1) fail("write");
    }
};

[[noreturn]] void be_child(const Pipe& go, const Pipe& ran) {
    close(go.ends[1]);
    while (go.get()) {
        pthread_t thread;
        turn = 0;
        if (int error = pthread_create(&thread, nullptr, second_thread, nullptr)) errno = error, fail("pthread_create");
        take_turns(0);
        pthread_join(thread, nullptr);
        ran.put();
    }
    _exit(0);
}

// A child that is waited for must not have ended.
void require_alive(pid_t child, int number) {
    int status;
    if (waitpid(child, &status, WNOHANG) == 0) return;
    printf("FAIL: child %d ended with status %#x\n", number, status);
    exit(1);
}

void await_children(const pid_t* children, int count) {
    for (int i = 0; i < count; i++) {
        int status;
        if (waitpid(children[i], &status, 0) != children[i] || status != 0) {
            printf("FAIL: child %d of %d ended with status %#x\n", i, count, status);
            exit(1);
        }
    }
}

void fork_until_refused(int most) {
    static pid_t children[kMostChildren];
    static Pipe* go[kMostChildren];
    Pipe ran;
    int count = 0;
    for (; count < most && count < kMostChildren; count++) {
        go[count] = new Pipe;
        children[count] = fork();
        if (children[count] < 0) break;
        if (children[count] == 0) {
            for (int i = 0; i < count; i++) close(go[i]->ends[1]);
            be_child(*go[count], ran);
        }
        close(go[count]->ends[0]);
    }
    const int refused = count < most ? errno : 0;
    printf("fork: %s\n", refused == 0 ? "never refused" : strerrorname_np(refused));
    for (int i = 0; i < kThreaded && i < count; i++) {
        go[i]->put();
        while (!ran.comes()) require_alive(children[i], i);
        if (!ran.get()) fail("read");
    }
    printf("threads ran\n");
    for (int i = 0; i < count; i++) close(go[i]->ends[1]);
    await_children(children, count);
    children[0] = fork();
    if (children[0] == 0) _exit(0);
    if (children[0] < 0) fail("fork again");
    await_children(children, 1);
    printf("forked again\n");
}

void eat(size_t bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) fail("mmap");
    memset(at, 0x5a, bytes);
    printf("ate\n");
}

}  // namespace

int main(int count, char** arguments) {
    setvbuf(stdout, nullptr, _IONBF, 0);
    if (count == 3 && strcmp(arguments[1], "fork") == 0)
        fork_until_refused(atoi(arguments[2]));
    else if (count == 3 && strcmp(arguments[1], "eat") == 0)
        eat(static_cast<size_t>(atoi(arguments[2])) << 20);
    else
        return 2;
}
