#pragma once
// The state directory: ROOT/ID/state.json (the OCI state of runtime-spec 1.1, section "State") while the container ID
// runs.
//
// A directory belongs to the process that holds an flock on it; one without a holder is left from a killed run and may
// be taken over or removed.
#include <string>

#include "common/host/fd.hpp"
#include "oci/outcome.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {

// 1 to 255 of [A-Za-z0-9_+.-], not "." or "..", as runc has it.
Outcome<> validate_container_id(const std::string& id);
// "bundle-1a2b3c4d": the bundle folder's name with what an ID may not contain left out, and a random part.
std::string make_container_id(const std::string& bundle);
// /run/kvmsbx for root, else under $XDG_RUNTIME_DIR or /tmp.
std::string default_state_root();

class StateDirectory {
  public:
    // Creates ROOT/ID. Fails when a running container has that ID.
    static Outcome<StateDirectory> create(const std::string& root, const std::string& id);

    Outcome<> write_running(int pid, const std::string& bundle, const Spec& spec);
    void remove();

    // Removes ROOT/ID if no process holds it; true when it is gone. Makes system calls only (it runs in the janitor
    // after fork).
    static bool remove_if_stale(int root_fd, const char* id);

  private:
    std::string id_;
    host::Fd root_fd_, lock_fd_;
};

// Opens ROOT, making it (mode 0700) with its parents when it is not there.
Outcome<host::Fd> open_state_root(const std::string& root);

}  // namespace kvmsbx::oci
