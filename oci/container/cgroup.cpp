#include "oci/container/cgroup.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <thread>

#include "oci/container/small_file.hpp"
#include "oci/container/systemd.hpp"

namespace kvmsbx::oci {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOwnParent = "kvmsbx";

bool is_permission(int error) { return error == EACCES || error == EPERM || error == EROFS; }

// A cgroup of cpuset v1 takes processes only when it has CPUs and memory nodes: those of its parent.
void inherit_cpuset(const std::string& parent, const std::string& folder) {
    for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
        if (!file_exists(folder + name) || !read_line_of(folder + name).empty()) continue;
        write_small_file(folder + name, read_line_of(parent + name));
    }
}

// In v2 a cgroup's children have the controllers that it names. One that cannot be enabled is missing below, and a limit
// that needs it says so.
void enable_controllers(const std::string& folder) {
    std::string available = read_line_of(folder + "/cgroup.controllers");
    while (!available.empty()) {
        const size_t space = std::min(available.find(' '), available.size());
        write_small_file(folder + "/cgroup.subtree_control", "+" + available.substr(0, space));
        available.erase(0, space + 1);
    }
}

// Makes the folder and its parents below the mount. False and errno. `made` gets the folder if it is new.
bool make_folder(const CgroupHierarchy& hierarchy, const std::string& folder, std::vector<std::string>& made) {
    for (size_t slash = folder.find('/', hierarchy.mount.size() + 1);; slash = folder.find('/', slash + 1)) {
        const std::string part = folder.substr(0, slash), parent = fs::path(part).parent_path();
        if (hierarchy.unified) enable_controllers(parent);
        const bool is_new = mkdir(part.c_str(), 0755) == 0;
        if (!is_new && errno != EEXIST) return false;
        if (!hierarchy.unified) inherit_cpuset(parent, part);
        if (slash != std::string::npos) continue;
        if (is_new) made.push_back(folder);
        return true;
    }
}

// Another container's removal may take an empty parent away at the same time.
bool make_folder_again(const CgroupHierarchy& hierarchy, const std::string& folder, std::vector<std::string>& made) {
    for (int attempt = 0; attempt < 5; ++attempt) {
        if (make_folder(hierarchy, folder, made)) return true;
        if (errno != ENOENT) return false;
    }
    return false;
}

void append_processes(const std::string& folder, std::vector<pid_t>& pids) {
    std::string text;
    if (!read_small_file(folder + "/cgroup.procs", text)) return;
    const char *at = text.data(), *end = at + text.size();
    for (pid_t pid = 0; at < end; ++at) {
        const auto [rest, error] = std::from_chars(at, end, pid);
        if (error == std::errc{}) pids.push_back(pid);
        at = std::max(at, rest);
    }
}

// The folder and all below, children first.
std::vector<std::string> tree_of(const std::string& folder) {
    std::vector<std::string> folders;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored))
        if (entry.is_directory(ignored) && !entry.is_symlink(ignored))
            for (std::string& below : tree_of(entry.path())) folders.push_back(std::move(below));
    folders.push_back(folder);
    return folders;
}

std::vector<pid_t> processes_of(const std::vector<std::string>& folders) {
    std::vector<pid_t> pids;
    for (const std::string& folder : folders)
        for (const std::string& each : tree_of(folder)) append_processes(each, pids);
    std::sort(pids.begin(), pids.end());
    pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
    return pids;
}

// The caller itself is spared.
void kill_processes(const std::vector<std::string>& folders) {
    const std::vector<pid_t> pids = processes_of(folders);
    const bool caller_inside = std::binary_search(pids.begin(), pids.end(), getpid());
    for (const std::string& folder : folders) {
        // A frozen process of v1 dies when it is thawed; v2 kills frozen ones.
        if (file_exists(folder + "/freezer.state")) write_small_file(folder + "/freezer.state", "THAWED");
        // Also kills what is born meanwhile.
        if (!caller_inside && file_exists(folder + "/cgroup.kill")) write_small_file(folder + "/cgroup.kill", "1");
    }
    for (const pid_t pid : pids)
        if (pid > 1 && pid != getpid()) kill(pid, SIGKILL);
}

// True when nothing is left of it. False and errno: EINVAL for a folder that is no cgroup.
bool remove_tree(const std::string& folder) {
    if (!file_exists(folder)) return true;
    int error = file_exists(folder + "/cgroup.procs") ? 0 : EINVAL;
    if (error != 0) return errno = error, false;
    for (const std::string& each : tree_of(folder))
        if (rmdir(each.c_str()) != 0 && errno != ENOENT) error = errno;
    errno = error;
    return error == 0;
}

Failure missing_right(const std::string& folder, int error) {
    return Failure{errno_failure("linux.cgroupsPath: making cgroup " + folder, error).message +
                   "; run as root, let somebody delegate a cgroup to you, or remove cgroupsPath"};
}

// What create_in() has made so far; it is taken back when something fails.
class NewFolders {
  public:
    ~NewFolders() {
        for (const std::string& folder : made_) rmdir(folder.c_str());
    }
    // False and errno.
    bool make(const CgroupHierarchy& hierarchy, const std::string& folder) {
        return make_folder_again(hierarchy, folder, made_);
    }
    void keep() { made_.clear(); }

  private:
    std::vector<std::string> made_;
};

// The folders of the scope that systemd has put the caller into.
Outcome<std::vector<std::string>> adopt_scope(const SystemdUnit& unit, NewFolders& made) {
    const std::vector<CgroupHierarchy> hierarchies = TRY(host_cgroup_hierarchies());
    std::string path;
    for (const CgroupHierarchy& hierarchy : hierarchies)
        if (hierarchy.own.ends_with("/" + unit.name)) path = hierarchy.own.substr(hierarchy.mount.size());
    if (path.empty()) return Failure{"systemd has started " + unit.name + ", but this process is not in its cgroup"};
    std::vector<std::string> folders;
    for (const CgroupHierarchy& hierarchy : hierarchies) {
        const std::string folder = hierarchy.mount + path;
        if (!file_exists(folder) && !made.make(hierarchy, folder))
            return errno_failure("making cgroup " + folder, errno);
        folders.push_back(folder);
    }
    TRY(enter_cgroups(folders));
    return folders;
}

}  // namespace

Outcome<Cgroup> Cgroup::create(const CgroupRequest& request, Reporter& reporter) {
    const bool asked = !request.cgroups_path.empty() || needs_cgroup(*request.resources);
    if (request.manager == CgroupManager::kSystemd && asked) return create_scope(request);
    return create_in(TRY(host_cgroup_hierarchies()), request, reporter);
}

// systemd makes the cgroup in the hierarchies that it manages; where it has put the caller, the others get the same
// folder.
Outcome<Cgroup> Cgroup::create_scope(const CgroupRequest& request) {
    const SystemdUnit unit = TRY(parse_systemd_path(request.cgroups_path, request.id));
    const CgroupMembership before = TRY(CgroupMembership::current());
    const std::vector<CgroupHierarchy> hierarchies = TRY(host_cgroup_hierarchies());
    const bool unified = std::all_of(hierarchies.begin(), hierarchies.end(), [](const auto& h) { return h.unified; });
    const uint64_t pids = static_cast<uint64_t>(std::max<int64_t>(request.resources->pids.value_or(0), 0));
    const std::vector<DbusProperty> limits =
        systemd_limits(*request.resources, host_pids_limit(pids, request.overhead), unified);
    SystemdClient client = TRY(SystemdClient::connect());
    TRY(client.start_scope(unit, getpid(), limits));
    NewFolders made;
    Outcome<std::vector<std::string>> folders = adopt_scope(unit, made);
    Outcome<> limited =
        folders.is_error() ? Outcome<>(folders.error())
                           : apply_limits(folders.value(), *request.resources, request.overhead, LimitsFor::kNewCgroup);
    if (limited.is_ok()) {
        made.keep();
        return Cgroup(folders.release_value(), unit.name);
    }
    const Outcome<> back = before.enter();  // the scope ends when it is empty
    return Failure{limited.error().message + (back.is_ok() ? "" : "; " + back.error().message)};
}

Outcome<Cgroup> Cgroup::create_in(const std::vector<CgroupHierarchy>& hierarchies, const CgroupRequest& request,
                                  Reporter& reporter) {
    const bool asked = !request.cgroups_path.empty();
    if (!asked && !needs_cgroup(*request.resources)) return Cgroup({});
    const std::string path = asked ? request.cgroups_path : std::string("/") + kOwnParent + "/" + request.id;
    std::vector<std::string> folders;
    NewFolders made;
    for (const CgroupHierarchy& hierarchy : hierarchies) {
        const std::string folder = cgroup_folder(hierarchy, path);
        if (folder == hierarchy.mount)
            return Failure{"linux.cgroupsPath: \"" + path + "\" is the root of all cgroups; name one below it"};
        if (!made.make(hierarchy, folder)) {
            const int error = errno;
            if (asked || !is_permission(error)) return missing_right(folder, error);
            reporter.debug(errno_failure("no cgroup for the container: " + folder, error).message);
            return Cgroup({});
        }
        folders.push_back(folder);
    }
    if (!processes_of(folders).empty())
        return Failure{"linux.cgroupsPath: cgroup " + path + " holds processes already; give each container its own"};
    if (folders.empty() && asked)
        return Failure{
            "linux.cgroupsPath: no cgroup file system is mounted; mount one at /sys/fs/cgroup, or remove it"};
    TRY(apply_limits(folders, *request.resources, request.overhead, LimitsFor::kNewCgroup));
    made.keep();
    return Cgroup(std::move(folders));
}

Outcome<> Cgroup::update(const Resources& resources, const CgroupOverhead& overhead) const {
    if (!unit_.empty()) {
        const uint64_t pids = static_cast<uint64_t>(std::max<int64_t>(resources.pids.value_or(0), 0));
        const bool unified = std::none_of(paths_.begin(), paths_.end(), [](const std::string& folder) {
            return file_exists(folder + "/memory.limit_in_bytes") || file_exists(folder + "/cpu.shares");
        });
        SystemdClient client = TRY(SystemdClient::connect());
        TRY(client.set_properties(unit_, systemd_limits(resources, host_pids_limit(pids, overhead), unified)));
    }
    return apply_limits(paths_, resources, overhead, LimitsFor::kRunningContainer);
}

Outcome<> Cgroup::remove(Leftovers leftovers) const {
    using namespace std::chrono;
    const auto end = steady_clock::now() + seconds(2);
    for (milliseconds pause(1);; pause = std::min(pause * 2, milliseconds(100))) {
        if (leftovers == Leftovers::kKill) kill_processes(paths_);
        std::string problem;
        for (const std::string& folder : paths_)
            if (!remove_tree(folder)) problem = errno_failure("removing cgroup " + folder, errno).message;
        if (problem.empty()) break;
        if (steady_clock::now() >= end) return Failure{problem};
        std::this_thread::sleep_for(pause);
    }
    if (!unit_.empty()) {
        SystemdClient client = TRY(SystemdClient::connect());
        TRY(client.stop(unit_));
    }
    for (const std::string& folder : paths_) {
        const fs::path parent = fs::path(folder).parent_path();
        if (parent.filename() == kOwnParent) rmdir(parent.c_str());  // stays while it has other containers
    }
    return {};
}

std::vector<pid_t> Cgroup::processes() const { return processes_of(paths_); }

}  // namespace kvmsbx::oci
