#pragma once
// Where containers are remembered: ROOT/ID/ with state.json (record.hpp), config.json (the text that was checked) and
// control.sock, on which the monitor listens.
//
// The monitor holds an flock on the folder as long as it lives. A folder without a holder is a stopped container's, or
// half-made by somebody who was killed; only what has a readable state.json is a container.
#include <string>
#include <vector>

#include "common/host/fd.hpp"
#include "oci/container/record.hpp"
#include "oci/outcome.hpp"

namespace kvmsbx::oci {

// 1 to 255 of [A-Za-z0-9_+.-], not "." or "..", as runc has it.
Outcome<> validate_container_id(const std::string& id);
// "bundle-1a2b3c4d": the bundle folder's name with what an ID may not contain left out, and a random part.
std::string make_container_id(const std::string& bundle);
// /run/kvmsbx for root, else under $XDG_RUNTIME_DIR or /tmp.
std::string default_state_root();
// Opens ROOT, making it (mode 0700) with its parents when it is not there.
Outcome<host::Fd> open_state_root(const std::string& root);

class ContainerFolder {
  public:
    // Makes ROOT/ID and takes its lock. Fails when there is a container of that ID; of two callers exactly one wins.
    static Outcome<ContainerFolder> create(const std::string& root, const std::string& id);
    // "container "ID" does not exist" where there is no such folder.
    static Outcome<ContainerFolder> open(const std::string& root, const std::string& id);

    const std::string& id() const { return id_; }
    int fd() const { return fd_.get(); }
    // Whether a process holds the lock that create() took.
    bool is_held() const;

    // Each replaces its file by rename.
    Outcome<> write_record(const ContainerRecord& record) const;
    Outcome<> write_config(std::string_view text) const;
    Outcome<ContainerRecord> read_record() const;
    Outcome<std::string> read_config() const;

    // A path to the control socket, short enough for bind(2) and connect(2), as long as the folder is open.
    std::string socket_path() const;

    // The folder with all that is in it.
    Outcome<> remove();

  private:
    Outcome<> replace(const char* name, std::string_view text) const;
    Outcome<std::string> read(const char* name) const;

    std::string id_;
    host::Fd root_fd_, fd_;
};

// All folders of ROOT, in alphabetical order; none where there is no ROOT.
std::vector<std::string> list_container_ids(const std::string& root);

}  // namespace kvmsbx::oci
