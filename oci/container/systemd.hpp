#pragma once
// systemd as the manager of cgroups (--systemd-cgroup): a container is a scope unit, and systemd makes its cgroup. kvmsbx
// talks to systemd's private socket, so that no bus daemon has to run.
#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "common/host/fd.hpp"
#include "oci/container/dbus_message.hpp"
#include "oci/outcome.hpp"
#include "oci/resources.hpp"

namespace kvmsbx::oci {

// What cgroupsPath names then: "system.slice:docker:abc" is docker-abc.scope in system.slice.
struct SystemdUnit {
    std::string slice;  // "user-1000.slice"
    std::string name;   // "docker-abc.scope"

    // Where it is below systemd's root: "/user.slice/user-1000.slice/docker-abc.scope".
    std::string cgroup_path() const;
};

// "SLICE:PREFIX:NAME", each but the name may be empty; "" is kvmsbx-ID.scope in the standard slice.
Outcome<SystemdUnit> parse_systemd_path(const std::string& cgroups_path, const std::string& id);

// Properties of a scope that say the same as `resources`, for what systemd would else set to its own values. `pids` is
// the host's limit (host_pids_limit). Versions of cgroups have names of their own.
std::vector<DbusProperty> systemd_limits(const Resources& resources, uint64_t pids, bool unified);

class SystemdClient {
  public:
    // To the system's manager for root, else to the user's. The failure says what to do without a systemd.
    static Outcome<SystemdClient> connect();
    // To a socket of that name.
    static Outcome<SystemdClient> connect_to(const std::string& socket);

    // Starts the scope with the process in it, and waits until systemd has made its cgroup.
    Outcome<> start_scope(const SystemdUnit& unit, pid_t process, const std::vector<DbusProperty>& limits);
    Outcome<> set_properties(const std::string& name, const std::vector<DbusProperty>& properties);
    // Ends what is left in it; a unit that is gone already is none to stop.
    Outcome<> stop(const std::string& name);

  private:
    explicit SystemdClient(host::Fd socket) : socket_(std::move(socket)) {}

    Outcome<> authenticate();
    // The reply to the call; an error reply is a failure "WHAT: systemd says ...".
    Outcome<DbusMessage> call(const std::string& what, const std::string& member, const std::string& signature,
                              const DbusWriter& body);
    Outcome<> wait_for_job(const std::string& what, const std::string& job);
    Outcome<DbusMessage> next_message();
    Outcome<> read_more();
    Outcome<> send(const std::string& bytes);

    host::Fd socket_;
    uint32_t serial_ = 0;
    std::string received_;
    std::vector<DbusMessage> signals_;  // that came while a reply was awaited
    std::chrono::steady_clock::time_point end_{};
};

}  // namespace kvmsbx::oci
