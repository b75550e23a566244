#pragma once
// Whose a file is: ids as the client sees them, and as this process does. They differ where the container has mappings of
// its own (linux.uidMappings), where a mount has some (idmap), and where this process lives in a user namespace. All
// three become one table here, so that neither the kernel nor the file system has to know about it.
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/result.hpp"

namespace kvmsbx::gofer {

// A line of a user namespace's uid_map: the `size` ids from `inside` are those from `outside`.
struct IdRange {
    uint32_t inside = 0, outside = 0, size = 0;
};

// An empty list maps each id to itself.
using IdRanges = std::vector<IdRange>;

class IdTable {
  public:
    // Each id is itself.
    IdTable() = default;
    // container: client -> host; mount: file system -> host; own: this process -> file system.
    static IdTable create(const IdRanges& container, const IdRanges& mount, const IdRanges& own);

    bool is_plain() const { return plain_; }
    // An id without a mapping is shown as that of "nobody".
    uint32_t to_client(uint32_t own) const;
    // kOVERFLOW: an id without a mapping.
    Result<uint32_t> to_own(uint32_t client) const;

  private:
    bool plain_ = true;
    IdRanges ranges_;  // inside: of the client; outside: of this process
};

struct OwnerTable {
    IdTable uids, gids;
    bool is_plain() const { return uids.is_plain() && gids.is_plain(); }
};

// The text of /proc/PID/uid_map.
IdRanges parse_id_map(const std::string& text);

}  // namespace kvmsbx::gofer
