#pragma once
// `kvmsbx doctor`: can this host run sandboxes, how, and what to repair.
#include <string>
#include <vector>

namespace kvmsbx::oci {

enum class Health { kOk, kWarning, kFailed };

struct Check {
    std::string name;  // "kvm-device"
    Health health;
    std::string finding;  // what is
    std::string repair;   // what to do; "" when there is nothing to do
};

std::vector<Check> examine_host();

std::string describe_as_text(const std::vector<Check>& checks);
// {"ok":bool,"checks":[{"name","status":"ok"|"warning"|"failed","finding","repair"}]}
std::string describe_as_json(const std::vector<Check>& checks);
bool can_run(const std::vector<Check>& checks);

}  // namespace kvmsbx::oci
