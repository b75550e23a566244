#pragma once
// What the gofer needs of config.json (OCI runtime spec 1.1): root.path, root.readonly and the bind mounts.
#include <string>
#include <string_view>
#include <vector>

#include "gofer/owners.hpp"

namespace kvmsbx::gofer {

struct IdMaps {
    IdRanges uids, gids;
};

struct BindMount {
    int index = 0;       // in config.json's mounts: the aname
    std::string source;  // absolute
    bool recursive = false;
    bool readonly = false;
    bool readonly_below = false;  // the mounts below it, too (rro)
    IdMaps maps;                  // of an idmapped one
};

struct GoferSpec {
    std::string root_path;  // absolute
    bool root_readonly = false;
    std::vector<BindMount> binds;
    IdMaps container_maps;                  // linux.uidMappings, linux.gidMappings
    std::vector<std::string> destinations;  // of all mounts, in order
    std::string mounts_json;                // "mounts" as it stands, to be written back
};

// Reads the text of config.json; relative paths are relative to `bundle`. On failure gives false and a line for the
// user, naming the field.
bool parse_spec(std::string_view text, const std::string& bundle, GoferSpec& spec, std::string& error);

// "mounts" with other destinations, as JSON.
std::string mounts_with_destinations(const GoferSpec& spec, const std::vector<std::string>& destinations);

}  // namespace kvmsbx::gofer
