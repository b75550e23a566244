#include "oci/doctor.hpp"

#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/host/landlock.hpp"
#include "oci/capabilities.hpp"
#include "oci/container/store.hpp"
#include "oci/kvm_device.hpp"
#include "vmm/sandbox.hpp"

namespace kvmsbx::oci {
namespace {

std::string first_line(const char* path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

Check check_kernel() {
    utsname name{};
    uname(&name);
    return {"kernel", Health::kOk, std::string("Linux ") + name.release + " on " + name.machine, ""};
}

// "what failed: why; what to do" in its two parts.
Failure what_failed(const Failure& failure) { return {failure.message.substr(0, failure.message.find("; "))}; }
std::string what_to_do(const Failure& failure) {
    const size_t split = failure.message.find("; ");
    return split == std::string::npos ? "" : failure.message.substr(split + 2);
}

Check check_kvm(const Outcome<host::Fd>& kvm) {
    if (kvm.is_ok()) return {"kvm-device", Health::kOk, "/dev/kvm can be opened, API version 12", ""};
    return {"kvm-device", Health::kWarning, what_failed(kvm.error()).message, what_to_do(kvm.error())};
}

std::string nanoseconds(double value) {
    char text[32];
    std::snprintf(text, sizeof text, value < 100 ? "%.1f ns" : "%.0f ns", value);
    return text;
}

// What is known of the two platforms.
struct Platforms {
    Outcome<host::Fd> kvm;
    vmm::PrivilegeReport privilege{};  // ok: a guest runs
    vmm::ProcessReport process{};
};

template <size_t N>
void set_reason(char (&to)[N], const std::string& reason) {
    std::snprintf(to, N, "%s", reason.c_str());
}

Platforms examine_platforms(const SentryImages& images) {
    Platforms found{open_kvm()};
    if (found.kvm.is_error()) {
        set_reason(found.privilege.reason, what_failed(found.kvm.error()).message);
    } else if (images.kvm.empty()) {
        set_reason(found.privilege.reason, "its Sentry is not in this executable");
    } else {
        found.privilege = vmm::measure_privilege(found.kvm.value().get());
    }
    if (images.process.empty()) {
        set_reason(found.process.reason, "its Sentry is not in this executable");
    } else {
        found.process = vmm::measure_process();
    }
    return found;
}

Check check_privilege(const Platforms& found) {
    const vmm::PrivilegeReport& report = found.privilege;
    if (report.ok)
        return {"privilege-mode", Health::kOk, "ring " + std::to_string(report.ring) + ": " + report.reason, ""};
    if (found.kvm.is_error()) return {"privilege-mode", Health::kWarning, "cannot be measured without /dev/kvm", ""};
    return {"privilege-mode", Health::kWarning, report.reason,
            "see whether another hypervisor or an LSM forbids virtual machines"};
}

Check check_platform_kvm(const vmm::PrivilegeReport& report) {
    if (!report.ok)
        return {"platform-kvm", Health::kWarning, std::string("not usable: ") + report.reason,
                "a /dev/kvm that works puts a guest's border around the Sentry, and makes memory and processes faster"};
    return {"platform-kvm", Health::kOk,
            "usable: the Sentry runs in guest ring " + std::to_string(report.ring) + "; " +
                nanoseconds(report.ns_per_loop) + " per loop iteration in guest ring 0",
            ""};
}

std::string process_improvements(const vmm::ProcessReport& report) {
    std::string text;
    if (!report.huge_pages)
        text =
            "a tmpfs with huge pages (mount -o huge=always), as root or in a user namespace: memory is many times "
            "faster to touch";
    if (report.cpus < 2) {
        if (!text.empty()) text += "; ";
        text += "a second CPU: system calls are then served without a switch of processes";
    }
    return text;
}

Check check_platform_process(const vmm::ProcessReport& report, bool is_built) {
    if (!is_built)
        return {"platform-process", Health::kWarning, std::string("not usable: ") + report.reason,
                "build the whole project (scripts/build)"};
    if (!report.ok)
        return {"platform-process", Health::kWarning, std::string("not usable: ") + report.reason,
                "see whether seccomp filters or an LSM of this container or host forbid what is named"};
    return {"platform-process", Health::kOk,
            "usable: " + nanoseconds(report.ns_per_call) + " per system call on " + std::to_string(report.cpus) +
                (report.cpus == 1 ? " CPU, " : " CPUs, ") +
                (report.huge_pages ? "memory of 2 MiB pages" : "memory of 4 KiB pages"),
            process_improvements(report)};
}

Check check_platform_auto(const Platforms& found) {
    if (found.privilege.ok) return {"platform-auto", Health::kOk, "takes kvm: a guest runs", ""};
    if (found.process.ok)
        return {"platform-auto", Health::kOk, std::string("takes process: ") + found.privilege.reason, ""};
    return {"platform-auto", Health::kFailed, "no platform works", "repair one of the two above"};
}

// Tries it in a child, so that this process stays where it is. 0 or the errno.
int try_namespaces(int flags) {
    const pid_t child = fork();
    if (child == 0) _exit(unshare(flags) == 0 ? 0 : errno);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status)) return EAGAIN;
    return WEXITSTATUS(status);
}

Check check_namespaces() {
    const bool privileged = has_capability(CAP_SYS_ADMIN);
    const int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    const int error = try_namespaces(flags | (privileged ? 0 : CLONE_NEWUSER));
    const std::string kind =
        privileged ? "with CAP_SYS_ADMIN" : "in a user namespace (files appear with one owner only)";
    if (error == 0) return {"namespaces", Health::kOk, "can be made " + kind, ""};
    return {"namespaces", Health::kWarning, "cannot be made " + kind + ": " + std::strerror(error),
            "run as root, or: sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 (and allow "
            "userns in AppArmor/SELinux); in a container that forbids them, give --no-namespaces: the sandbox's "
            "processes then have no process ids, network, IPC and mounts of their own"};
}

Check check_landlock() {
    const int abi = host::landlock_abi();
    if (abi > 0) return {"landlock", Health::kOk, "ABI " + std::to_string(abi) + ", for --no-namespaces", ""};
    return {"landlock", Health::kWarning,
            "none: with --no-namespaces only seccomp and an empty root keep the gofer from other files",
            "Linux 5.19 or later with landlock in the kernel's list of LSMs (lsm=landlock,...)"};
}

Check check_file_capabilities() {
    for (unsigned capability : {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SETUID, CAP_SETGID, CAP_SETPCAP}) {
        if (!has_capability(capability)) {
            return {"capabilities", Health::kWarning,
                    "not all that file ownership needs (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SETUID, "
                    "CAP_SETGID, CAP_SETPCAP)",
                    "run as root if the bundle's files belong to several users"};
        }
    }
    return {"capabilities", Health::kOk, "all that file ownership needs", ""};
}

Check check_cgroups() {
    if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0) {
        return {"cgroups", Health::kOk, "version 2, controllers: " + first_line("/sys/fs/cgroup/cgroup.controllers"),
                ""};
    }
    if (access("/sys/fs/cgroup/memory", F_OK) == 0) return {"cgroups", Health::kOk, "version 1", ""};
    return {"cgroups", Health::kWarning, "none mounted at /sys/fs/cgroup",
            "mount -t cgroup2 none /sys/fs/cgroup (sandboxes run without, but nothing on the host limits them)"};
}

Check check_memory() {
    std::ifstream file("/proc/meminfo");
    std::string name, unit;
    uint64_t kib = 0;
    while (file >> name >> kib >> unit) {
        if (name == "MemAvailable:") break;
        kib = 0;
    }
    const std::string finding = std::to_string(kib / 1024) + " MiB available";
    if (kib >= 256 * 1024) return {"memory", Health::kOk, finding, ""};
    return {"memory", Health::kWarning, finding,
            "free some: a sandbox needs about 20 MiB and what its applications use"};
}

Check check_huge_pages() {
    const char* path = "/sys/kernel/mm/transparent_hugepage/enabled";
    const std::string line = first_line(path);
    if (line.find("[always]") != std::string::npos || line.find("[madvise]") != std::string::npos) {
        return {"huge-pages", Health::kOk, "transparent huge pages: " + line, ""};
    }
    return {"huge-pages", Health::kWarning,
            line.empty() ? "no transparent huge pages" : "transparent huge pages: " + line,
            std::string("echo madvise > ") + path + " (memory is several times slower to touch without)"};
}

Check check_state_root() {
    const std::string root = default_state_root();
    const Outcome<host::Fd> fd = open_state_root(root);
    if (fd.is_ok() && faccessat(fd.value().get(), ".", W_OK, 0) == 0)
        return {"state-folder", Health::kOk, root + " is writable", ""};
    return {"state-folder", Health::kWarning, fd.is_ok() ? root + " is not writable" : fd.error().message,
            "give a folder of your own with --root"};
}

const char* status_name(Health health) {
    switch (health) {
        case Health::kOk: return "ok";
        case Health::kWarning: return "warning";
        case Health::kFailed: return "failed";
    }
    return "failed";
}

}  // namespace

std::vector<Check> examine_host(const SentryImages& images) {
    const Platforms found = examine_platforms(images);
    return {check_kernel(),
            check_kvm(found.kvm),
            check_privilege(found),
            check_platform_kvm(found.privilege),
            check_platform_process(found.process, !images.process.empty()),
            check_platform_auto(found),
            check_namespaces(),
            check_landlock(),
            check_file_capabilities(),
            check_cgroups(),
            check_memory(),
            check_huge_pages(),
            check_state_root()};
}

bool can_run(const std::vector<Check>& checks) {
    for (const Check& check : checks) {
        if (check.health == Health::kFailed) return false;
    }
    return true;
}

std::string describe_as_text(const std::vector<Check>& checks) {
    std::string text;
    for (const Check& check : checks) {
        char line[64];
        std::snprintf(line, sizeof line, "%-8s %-16s ", status_name(check.health), check.name.c_str());
        text += line + check.finding + "\n";
        const char* label = check.health == Health::kOk ? "better with: " : "repair: ";
        if (!check.repair.empty()) text += std::string(26, ' ') + label + check.repair + "\n";
    }
    text += can_run(checks) ? "This host can run sandboxes.\n"
                            : "This host cannot run sandboxes yet: repair what failed.\n";
    return text;
}

std::string describe_as_json(const std::vector<Check>& checks) {
    nlohmann::ordered_json document{{"ok", can_run(checks)}, {"checks", nlohmann::ordered_json::array()}};
    for (const Check& check : checks) {
        document["checks"].push_back({{"name", check.name},
                                      {"status", status_name(check.health)},
                                      {"finding", check.finding},
                                      {"repair", check.repair}});
    }
    return document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace kvmsbx::oci
