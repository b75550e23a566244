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

#include "oci/kvm_device.hpp"
#include "oci/reporter.hpp"
#include "oci/state.hpp"
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

Check check_kvm(const Outcome<UniqueFd>& kvm) {
    if (kvm.is_ok()) return {"kvm-device", Health::kOk, "/dev/kvm can be opened, API version 12", ""};
    const std::string& message = kvm.error().message;
    const size_t split = message.find("; ");
    if (split == std::string::npos) return {"kvm-device", Health::kFailed, message, ""};
    return {"kvm-device", Health::kFailed, message.substr(0, split), message.substr(split + 2)};
}

Check check_privilege(const Outcome<UniqueFd>& kvm) {
    if (kvm.is_error()) return {"privilege-mode", Health::kFailed, "cannot be measured without /dev/kvm", ""};
    const vmm::PrivilegeReport report = vmm::measure_privilege(kvm.value().get());
    if (!report.ok)
        return {"privilege-mode", Health::kFailed, report.reason,
                "see whether another hypervisor or an LSM forbids virtual machines"};
    return {"privilege-mode", Health::kOk, "ring " + std::to_string(report.ring) + ": " + report.reason, ""};
}

bool is_capable(unsigned capability) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    return syscall(SYS_capget, &header, data) == 0 && (data[capability / 32].effective >> (capability % 32) & 1);
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
    const bool privileged = is_capable(CAP_SYS_ADMIN);
    const int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    const int error = try_namespaces(flags | (privileged ? 0 : CLONE_NEWUSER));
    const std::string kind =
        privileged ? "with CAP_SYS_ADMIN" : "in a user namespace (files appear with one owner only)";
    if (error == 0) return {"namespaces", Health::kOk, "can be made " + kind, ""};
    return {"namespaces", Health::kFailed, "cannot be made " + kind + ": " + std::strerror(error),
            "run as root, or: sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 (and allow "
            "userns in AppArmor/SELinux)"};
}

Check check_file_capabilities() {
    for (unsigned capability : {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SETUID, CAP_SETGID, CAP_SETPCAP}) {
        if (!is_capable(capability)) {
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
    const Outcome<UniqueFd> fd = open_state_root(root);
    if (fd.is_ok() && faccessat(fd.value().get(), ".", W_OK, 0) == 0)
        return {"state-folder", Health::kOk, root + " is writable", ""};
    return {"state-folder", Health::kFailed, fd.is_ok() ? root + " is not writable" : fd.error().message,
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

std::vector<Check> examine_host() {
    const Outcome<UniqueFd> kvm = open_kvm();
    return {check_kernel(),  check_kvm(kvm), check_privilege(kvm), check_namespaces(), check_file_capabilities(),
            check_cgroups(), check_memory(), check_huge_pages(),   check_state_root()};
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
        std::snprintf(line, sizeof line, "%-8s %-15s ", status_name(check.health), check.name.c_str());
        text += line + check.finding + "\n";
        if (!check.repair.empty()) text += std::string(25, ' ') + "repair: " + check.repair + "\n";
    }
    text += can_run(checks) ? "This host can run sandboxes.\n"
                            : "This host cannot run sandboxes yet: repair what failed.\n";
    return text;
}

std::string describe_as_json(const std::vector<Check>& checks) {
    std::string json = std::string("{\"ok\":") + (can_run(checks) ? "true" : "false") + ",\"checks\":[";
    const char* separator = "";
    for (const Check& check : checks) {
        json += separator +
                ("{\"name\":\"" + check.name + "\",\"status\":\"" + status_name(check.health) + "\",\"finding\":\"" +
                 json_escape(check.finding) + "\",\"repair\":\"" + json_escape(check.repair) + "\"}");
        separator = ",";
    }
    return json + "]}\n";
}

}  // namespace kvmsbx::oci
