// entry_code_test [auto|ring0|ring3] [SCENARIO|time]: runs the mini Sentry's scenarios in that privilege mode (default
// auto), each in a process of its own. Exit status 0 if all are as expected, 77 without /dev/kvm. Runs natively and,
// being static, in the emulated machine: scripts/hwkvm build/tests/hwkvm/entry_code_test ring0
#include <cpuid.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>

#include "common/control/messages.hpp"
#include "vmm/sandbox.hpp"

extern "C" const std::byte mini_sentry_image[], mini_sentry_image_end[];

namespace {

using namespace kvmsbx;

struct Scenario {
    const char* word;  // for the mini Sentry
    unsigned cpus;
    int exit_code;
    const char* expected_output;  // somewhere in what it prints
    const char* what;
};

constexpr Scenario kScenarios[] = {
    {"a", 1, 0, "all checks hold", "every check, one vCPU"},
    {"a", 2, 0, "all checks hold", "every check, two vCPUs"},
    {"xit", 1, 7, "", "exit code"},
    {"fault", 1, 0, "all checks hold", "fault_entry"},
    {"gain", 1, 125, "exception that the Sentry could not handle itself", "fault in fault_entry"},
    {"early", 1, 125, "provoke_fault", "fault before fault_entry is set"},
    {"panic", 1, 125, "as asked", "panic, symbolised"},
    {"mmio", 1, 125, "where there is nothing", "write to an address without a device"},
    {"none", 1, 125, "hypercall without a number", "a hypercall that stands in no block of its vCPU"},
    {"kill", 1, 125, "the guest died", "a guest beyond repair"},
    {"control", 1, 0, "all checks hold", "control socket: a request, and an answer"},
    {"wait", 2, 125, "the gofer", "death of the gofer"},
    {"wait", 2, 125, "the process that started", "death of the process behind the control socket"},
};

// Under QEMU's TCG, whose CPU differs from a real one in a few corners.
bool host_is_emulated() {
    uint32_t eax, name[3];
    __cpuid(0x40000000, eax, name[0], name[1], name[2]);
    return memcmp(name, "TCGTCGTCGTCG", sizeof name) == 0;
}

[[noreturn]] void run_child(const Scenario& scenario, vmm::PrivilegeChoice choice, int input, int output, int lifeline,
                            int control) {
    vmm::SandboxConfig config;
    config.platform = vmm::PlatformChoice::kKvm;
    config.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    config.console_fds = {input, output, output};
    config.cpus = scenario.cpus;
    config.ram_size = scenario.cpus == 1 ? 64 << 20 : 1 << 30;  // all of it there from the start, or not
    config.privilege = choice;
    config.debug = scenario.word[0] != 's';
    config.log_fd = output;
    config.seccomp = vmm::SeccompPolicy::SECCOMP_POLICY;  // of the build: tests/hwkvm/CMakeLists.txt
    config.gofer_lifeline_fd = lifeline;
    config.control_fd = control;
    config.sentry_elf = std::span(mini_sentry_image, mini_sentry_image_end);
    std::string word = std::string(scenario.word) + (host_is_emulated() ? "+" : "");
    auto bytes = std::as_bytes(std::span(word.c_str(), word.size() + 1));
    config.app_spec.assign(bytes.begin(), bytes.end());
    _exit(vmm::run_sandbox(config));
}

// Collects what the child prints until it closes its end; gives it its input when it waits for that; kills it after
// `seconds`.
std::string collect(int fd, int& input, pid_t child, int seconds) {
    std::string text;
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    for (;;) {
        auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
        pollfd p{fd, POLLIN, 0};
        if (left <= 0 || poll(&p, 1, left) <= 0) {
            kill(child, SIGKILL);
            return text + "(killed: time ran out)\n";
        }
        char buffer[4096];
        ssize_t got = read(fd, buffer, sizeof buffer);
        if (got <= 0) return text;
        text.append(buffer, got);
        if (input >= 0 && text.find("waiting for input") != std::string::npos) {
            ssize_t ignored = write(input, "in", 2);
            static_cast<void>(ignored);
            close(input);
            input = -1;
        }
    }
}

// The monitor's side of the control socket: a request.
bool send_request(int control) {
    uint8_t frame[64];
    const auto size =
        static_cast<ssize_t>(control::encode_frame(frame, 77, control::Signal{.number = 15, .foreground = true}));
    return write(control, frame, size) == size;
}

// Pipes and the control socket of one run; [0] is the sandbox's end of input, lifeline and control, [1] of output.
struct Wires {
    int output[2], input[2], lifeline[2], control[2];
    bool open() {
        return !pipe(output) && !pipe(input) && !pipe(lifeline) && !socketpair(AF_UNIX, SOCK_STREAM, 0, control);
    }
    void close_sandbox_ends() { close(output[1]), close(input[0]), close(lifeline[0]), close(control[0]); }
    void close_our_ends() { close(output[0]), close(input[1]), close(lifeline[1]), close(control[1]); }
};

bool run_one(const Scenario& scenario, vmm::PrivilegeChoice choice, int seconds) {
    Wires wires;
    if (!wires.open()) return false;
    pid_t child = fork();
    if (child == 0) {
        wires.close_our_ends();
        run_child(scenario, choice, wires.input[0], wires.output[1], wires.lifeline[0], wires.control[0]);
    }
    wires.close_sandbox_ends();
    std::string_view what = scenario.what;
    bool good = !what.starts_with("control") || send_request(wires.control[1]);
    if (what.starts_with("death")) {
        usleep(300'000);
        int& end = what.ends_with("gofer") ? wires.lifeline[1] : wires.control[1];
        close(end);
        end = -1;
    }
    std::string text = collect(wires.output[0], wires.input[1], child, seconds);
    wires.close_our_ends();
    int status = 0;
    waitpid(child, &status, 0);
    good &= WIFEXITED(status) && WEXITSTATUS(status) == scenario.exit_code &&
            text.find(scenario.expected_output) != std::string::npos;
    printf("%s %s\n", good ? "ok    " : "FAILED", scenario.what);
    if (!good || getenv("VERBOSE"))
        printf("status %#x, wanted exit code %d; output:\n%s\n", status, scenario.exit_code, text.c_str());
    fflush(stdout);
    return good;
}

// CPU seconds of a sandbox that makes `thousands` * 1000 null system calls.
double cpu_seconds(vmm::PrivilegeChoice choice, unsigned thousands) {
    std::string word = "s" + std::to_string(thousands);
    Scenario scenario{word.c_str(), 1, 0, "", ""};
    pid_t child = fork();
    if (child == 0) run_child(scenario, choice, -1, 2, -1, -1);
    int status = 0;
    rusage usage{};
    wait4(child, &status, 0, &usage);
    if (status != 0) printf("FAILED: status %#x\n", status);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

// What one null system call costs in CPU time: the difference between the best of a few long and a few short runs.
int time_system_calls(vmm::PrivilegeChoice choice) {
    double few = 1e9, many = 1e9;
    for (int i = 0; i < 9; i++)
        few = std::min(few, cpu_seconds(choice, 1)), many = std::min(many, cpu_seconds(choice, 9));
    printf("null system call: %.2f us of CPU time\n", (many - few) / 8000 * 1e6);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::string mode = argc > 1 ? argv[1] : "auto";
    auto choice = mode == "ring0"   ? vmm::PrivilegeChoice::kRing0
                  : mode == "ring3" ? vmm::PrivilegeChoice::kRing3
                                    : vmm::PrivilegeChoice::kAuto;
    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        printf("skipped: no access to /dev/kvm\n");
        return 77;
    }
    if (argc > 2 && !strcmp(argv[2], "time")) return time_system_calls(choice);
    int failed = 0;
    for (const Scenario& scenario : kScenarios)
        if (argc < 3 || !strcmp(argv[2], scenario.word)) failed += !run_one(scenario, choice, 60);
    return failed != 0;
}
