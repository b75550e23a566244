#pragma once
// `kvmsbx doctor`: can this host run sandboxes, on which platform and at what cost, and what to repair. Only a host on
// which no platform works fails.
#include <string>
#include <vector>

#include "oci/image/sentry_image.hpp"

namespace kvmsbx::oci {

enum class Health { kOk, kWarning, kFailed };

struct Check {
    std::string name;  // "kvm-device"
    Health health;
    std::string finding;  // what is
    std::string repair;   // what to do, with kOk what would make it better; "" when there is nothing to do
};

// `images`: a platform whose Sentry this executable lacks is not usable.
std::vector<Check> examine_host(const SentryImages& images);

std::string describe_as_text(const std::vector<Check>& checks);
// {"ok":bool,"checks":[{"name","status":"ok"|"warning"|"failed","finding","repair"}]}
std::string describe_as_json(const std::vector<Check>& checks);
bool can_run(const std::vector<Check>& checks);

}  // namespace kvmsbx::oci
