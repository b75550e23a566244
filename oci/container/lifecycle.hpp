#pragma once
// The verbs on a container that exists: start, kill, delete, pause, resume, state, list, ps, events, update. `exec` is
// in exec.hpp. Each reports its failures and gives the command's exit code.
#include <optional>
#include <string>
#include <vector>

#include "oci/reporter.hpp"

namespace kvmsbx::oci {

enum class Format { kTable, kJson, kIds };

int start_container(const std::string& root, const std::string& id, Reporter& reporter);
// `signal`: a number, or a name with or without SIG. `all`: every process of the container gets it.
int kill_container(const std::string& root, const std::string& id, const std::string& signal, bool all,
                   Reporter& reporter);
// `force`: ends a container that runs, and removes what is left of one whose state cannot be read; an unknown ID is no
// failure then.
int delete_container(const std::string& root, const std::string& id, bool force, Reporter& reporter);
int pause_container(const std::string& root, const std::string& id, Reporter& reporter);
int resume_container(const std::string& root, const std::string& id, Reporter& reporter);

int print_state(const std::string& root, const std::string& id, Reporter& reporter);
int list_containers(const std::string& root, Format format, Reporter& reporter);
// kTable: the Sentry's processes; kJson: the host's PIDs that stand for the container, which engines want.
int print_processes(const std::string& root, const std::string& id, Format format, Reporter& reporter);
// What each task of the container waits for.
int print_stacks(const std::string& root, const std::string& id, Reporter& reporter);

struct EventsOptions {
    bool stats_once = false;
    unsigned interval_ms = 5000;
};
// One line of JSON per event, until the container ends.
int print_events(const std::string& root, const std::string& id, const EventsOptions& options, Reporter& reporter);

// `resources_text`: the JSON of linux.resources, out of which `file` is what messages name.
int update_container(const std::string& root, const std::string& id, const std::string& resources_text,
                     const std::string& file, Reporter& reporter);

}  // namespace kvmsbx::oci
