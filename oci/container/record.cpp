#include "oci/container/record.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/host/fd.hpp"

namespace kvmsbx::oci {
namespace {

using nlohmann::ordered_json;

constexpr const char* kStateVersion = "1.1.0";
constexpr std::array kStatusNames = {"creating", "created", "running", "paused", "stopped"};

// The fields of /proc/PID/stat after the command, which may hold blanks and parentheses; "" without such a process.
std::string stat_after_command(pid_t pid) {
    const std::string path = "/proc/" + std::to_string(pid) + "/stat";
    const host::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char text[1024];
    const ssize_t length = file.is_open() ? read(file.get(), text, sizeof text) : -1;
    if (length <= 0) return {};
    const std::string_view all(text, static_cast<size_t>(length));
    const size_t end = all.rfind(')');
    return end == all.npos || end + 2 > all.size() ? std::string() : std::string(all.substr(end + 2));
}

uint64_t start_time_in(const std::string& stat) {
    constexpr int kFieldsBefore = 19;  // of field 22, counted from field 3
    size_t at = 0;
    for (int i = 0; i < kFieldsBefore && at != std::string::npos; ++i) {
        at = stat.find(' ', at);
        if (at != std::string::npos) ++at;
    }
    return at == std::string::npos ? 0 : std::strtoull(stat.c_str() + at, nullptr, 10);
}

ordered_json to_json(const ProcessIdentity& process) {
    return {{"pid", process.pid}, {"startTime", process.start_time}};
}

ProcessIdentity identity_from(const ordered_json& value) {
    return {value.at("pid").get<pid_t>(), value.at("startTime").get<uint64_t>()};
}

std::string dump(const ordered_json& document, int indent) {
    return document.dump(indent, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

ordered_json oci_state(const ContainerRecord& record, Status status) {
    ordered_json document{{"ociVersion", kStateVersion}, {"id", record.id}, {"status", status_name(status)}};
    if (status != Status::kStopped) document["pid"] = record.monitor.pid;
    document["bundle"] = record.bundle;
    document["annotations"] = ordered_json::object();
    for (const auto& [name, value] : record.annotations) document["annotations"][name] = value;
    return document;
}

}  // namespace

const char* status_name(Status status) { return kStatusNames[static_cast<size_t>(status)]; }

ProcessIdentity ProcessIdentity::of(pid_t pid) { return {pid, start_time_in(stat_after_command(pid))}; }

bool ProcessIdentity::is_alive() const {
    if (pid <= 0) return false;
    const std::string stat = stat_after_command(pid);
    return !stat.empty() && stat[0] != 'Z' && stat[0] != 'X' && start_time_in(stat) == start_time;
}

Status ContainerRecord::effective_status() const { return monitor.is_alive() ? status : Status::kStopped; }

std::string record_to_json(const ContainerRecord& record) {
    ordered_json document{{"id", record.id},
                          {"bundle", record.bundle},
                          {"rootfs", record.rootfs},
                          {"status", status_name(record.status)},
                          {"monitor", to_json(record.monitor)},
                          {"boot", to_json(record.boot)},
                          {"gofer", to_json(record.gofer)},
                          {"created", record.created},
                          {"owner", record.owner},
                          {"cgroups", record.cgroups},
                          {"systemdUnit", record.systemd_unit},
                          {"platform", record.platform},
                          {"cpus", record.cpus},
                          {"annotations", record.annotations}};
    return dump(document, -1);
}

Outcome<ContainerRecord> record_from_json(std::string_view text) {
    try {
        const ordered_json document = ordered_json::parse(text);
        ContainerRecord record;
        record.id = document.at("id").get<std::string>();
        record.bundle = document.at("bundle").get<std::string>();
        record.rootfs = document.at("rootfs").get<std::string>();
        const auto status = document.at("status").get<std::string>();
        const auto* name = std::find(kStatusNames.begin(), kStatusNames.end(), status);
        if (name == kStatusNames.end()) return Failure{"status \"" + status + "\" is not known"};
        record.status = static_cast<Status>(name - kStatusNames.begin());
        record.monitor = identity_from(document.at("monitor"));
        record.boot = identity_from(document.at("boot"));
        record.gofer = identity_from(document.at("gofer"));
        record.created = document.at("created").get<std::string>();
        record.owner = document.at("owner").get<uid_t>();
        record.cgroups = document.at("cgroups").get<std::vector<std::string>>();
        record.systemd_unit = document.at("systemdUnit").get<std::string>();
        record.platform = document.at("platform").get<std::string>();
        record.cpus = document.at("cpus").get<uint32_t>();
        record.annotations = document.at("annotations").get<std::map<std::string, std::string>>();
        return record;
    } catch (const nlohmann::json::exception& error) { return Failure{error.what()}; }
}

std::string oci_state_json(const ContainerRecord& record, Status status) { return dump(oci_state(record, status), -1); }

std::string oci_state_report(const ContainerRecord& record) {
    ordered_json document = oci_state(record, record.effective_status());
    if (!document.contains("pid")) document["pid"] = 0;
    document["rootfs"] = record.rootfs;
    document["created"] = record.created;
    document["owner"] = user_name(record.owner);
    return dump(document, 2);
}

// Out of /etc/passwd itself: getpwuid(3) of a static program would load the host's plug-ins.
std::string user_name(uid_t uid) {
    std::ifstream passwd("/etc/passwd");
    for (std::string line; std::getline(passwd, line);) {
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == line.npos || second == line.npos) continue;
        if (std::strtoul(line.c_str() + second + 1, nullptr, 10) == uid) return line.substr(0, first);
    }
    return std::to_string(uid);
}

}  // namespace kvmsbx::oci
