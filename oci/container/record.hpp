#pragma once
// What is remembered of a container while it exists: state.json of its folder (store.hpp).
#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "oci/outcome.hpp"

namespace kvmsbx::oci {

enum class Status { kCreating, kCreated, kRunning, kPaused, kStopped };
const char* status_name(Status status);

// A process that may be gone, and its number another's by now.
struct ProcessIdentity {
    pid_t pid = 0;
    uint64_t start_time = 0;  // field 22 of proc(5)'s stat

    static ProcessIdentity of(pid_t pid);  // start_time 0: there is none
    // Neither gone nor a zombie.
    bool is_alive() const;
};

struct ContainerRecord {
    std::string id;
    std::string bundle;                 // absolute
    std::string rootfs;                 // absolute
    Status status = Status::kCreating;  // as the monitor wrote it last; see effective_status()
    ProcessIdentity monitor, boot, gofer;
    std::string created;  // RFC 3339
    uid_t owner = 0;
    std::vector<std::string> cgroups;  // folders of the container's own control groups
    std::string systemd_unit;          // that made them; "": cgroupfs
    std::string platform;              // kvm or process
    uint32_t cpus = 0;                 // virtual ones; 0: as many as the host lets the caller use
    std::map<std::string, std::string> annotations;

    // kStopped once the monitor is gone.
    Status effective_status() const;
};

std::string record_to_json(const ContainerRecord& record);
Outcome<ContainerRecord> record_from_json(std::string_view text);

// The OCI state (runtime-spec, "State") in one line, with a newline. `pid` is left out once the container has stopped.
std::string oci_state_json(const ContainerRecord& record, Status status);
// The same for people and `kvmsbx state`: indented, with runc's additions (rootfs, created, owner).
std::string oci_state_report(const ContainerRecord& record);

std::string user_name(uid_t uid);

}  // namespace kvmsbx::oci
