#pragma once
// Threads of the sandbox process, where the host may have no more.
#include <atomic>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "common/base/result.hpp"
#include "common/host/log.hpp"

namespace kvmsbx::vmm {

// Where the threads of vCPUs wait until all are there: a guest with some of its vCPUs does not start.
class StartGate {
  public:
    void open() {
        open_ = true;
        open_.notify_all();
    }
    void wait() { open_.wait(false); }

  private:
    std::atomic<bool> open_{false};
};

// A thread that runs `body`. EAGAIN with a line in the log: the host has none left for this process.
template <typename Body>
Result<std::thread> start_vcpu_thread(const host::Log& log, Body body) {
    try {
        return std::thread(std::move(body));
    } catch (const std::system_error& error) {
        return log.fail(Errno::kAGAIN,
                        "cannot start the thread of a vCPU: %s; raise the limit of processes (pids.max of the cgroup, "
                        "ulimit -u) or run with fewer --cpus",
                        strerror(error.code().value()));
    }
}

}  // namespace kvmsbx::vmm
