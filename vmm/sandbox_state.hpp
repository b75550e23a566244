#pragma once
// What the threads of a running sandbox share. Locks: HostEvents', the control channel's two and the platform's own,
// never two at a time; everything else is constant or atomic.
#include <array>
#include <atomic>
#include <cstdint>

#include "vmm/console.hpp"
#include "vmm/control_channel.hpp"
#include "vmm/guest_memory.hpp"
#include "vmm/host_events.hpp"
#include "vmm/sandbox.hpp"
#include "vmm/sentry_elf.hpp"

namespace kvmsbx::vmm {

// The sandbox's end: the first reason wins; everybody else sees it and stops.
class Ending {
  public:
    explicit Ending(int wake_fd) : wake_fd_(wake_fd) {}
    // True for the caller that decides it. That caller's `report` runs before anybody else knows: the process may be gone
    // right after.
    template <typename Report = void (*)()>
    bool set(
        int exit_code, Report report = [] {}) {
        if (claimed_.exchange(true)) return false;
        report();
        announce(exit_code);
        return true;
    }
    bool decided() const { return code_.load() != kRunning; }
    int code() const { return code_.load(); }

  private:
    void announce(int exit_code);

    static constexpr int kRunning = -1;
    std::atomic<bool> claimed_{false};
    std::atomic<int> code_{kRunning};
    int wake_fd_;
};

// What differs between KVM and the process platform for code that serves both. Any thread, but for on_readable().
class Platform {
  public:
    virtual GuestPhys cpu_area(unsigned cpu) const = 0;
    // kBackMemory.
    virtual Result<uint64_t> extend_ram(uint64_t bytes) = 0;
    // Tells the Sentry to ask for host events.
    virtual void notify_sentry() = 0;
    // Descriptors that the main loop is to wait for; -1: none. It calls on_readable() with the index.
    static constexpr unsigned kPolled = 2;
    virtual std::array<int, kPolled> polled() const { return {-1, -1}; }
    virtual void on_readable(unsigned) {}

  protected:
    ~Platform() = default;
};

struct SandboxState {
    // `wake_fd`: an eventfd for the main loop.
    SandboxState(const SandboxConfig& config, const host::Log& log, const GuestMemory& memory, const SentryElf& sentry,
                 Platform& platform, int wake_fd)
        : config(config),
          log(log),
          memory(memory),
          sentry(sentry),
          platform(platform),
          console(config.console_fds, wake_fd),
          control(config.control_fd, console, wake_fd),
          ending(wake_fd) {}

    const SandboxConfig& config;
    const host::Log& log;
    const GuestMemory& memory;
    const SentryElf& sentry;
    Platform& platform;
    Console console;
    ControlChannel control;
    HostEvents events;
    Ending ending;
};

// What both platforms make of the configuration.
unsigned cpu_count(const SandboxConfig& config);
uint64_t ram_size(const SandboxConfig& config);  // bytes, a multiple of 2 MiB
// The channel's memory: its size, 0 if there is none. EINVAL, with a line in the log.
Result<uint64_t> channel_size(const host::Log& log, const SandboxConfig& config);

}  // namespace kvmsbx::vmm
