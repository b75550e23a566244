#pragma once
// What the verbs have in common: find the container, speak to its monitor, tell the failure.
#include "oci/container/cgroup_limits.hpp"
#include "oci/container/store.hpp"
#include "oci/control/client.hpp"
#include "oci/reporter.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {

struct Container {
    ContainerFolder folder;
    ContainerRecord record;
    Status status;
};
Outcome<Container> find_container(const std::string& root, const std::string& id);
// The connection to the monitor; "container not running" for one that has stopped.
Outcome<ControlConnection> connect(const Container& container);
// The config.json that the container was created from.
Outcome<Spec> read_spec(const ContainerFolder& folder);

SandboxPlatform platform_of(const ContainerRecord& record);

// All of it, to standard output.
Outcome<> print(std::string_view text);

// 0, or a failure's exit code after its line.
int finish(const Outcome<>& outcome, Reporter& reporter);

}  // namespace kvmsbx::oci
