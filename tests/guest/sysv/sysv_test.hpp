#pragma once
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <ctime>

#include "tests/guest/guest_test.hpp"

// Becomes a user without capabilities and groups.
inline void become_user(uid_t uid) {
    OK(setgid(uid));
    OK(setuid(uid));
}

// Waits until /proc/PID/stat says that the process sleeps.
inline void wait_until_blocked(pid_t pid) {
    for (int i = 0; i < 500; ++i) {
        char path[40], text[400];
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        if (guest::read_file(path, text, sizeof text) > 0)
            if (const char* end = strrchr(text, ')'); end && end[2] == 'S') return guest::sleep_ms(10);
        guest::sleep_ms(10);
    }
    guest::fail(__FILE__, __LINE__, "process %d does not block", pid);
}

inline int finish(pid_t pid) {
    int status;
    OK(waitpid(pid, &status, 0));
    return status;
}
