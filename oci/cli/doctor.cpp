#include "oci/doctor.hpp"
#include "common/host/exit_code.hpp"

#include <cstdio>

#include "oci/cli/verbs.hpp"

namespace kvmsbx::oci::cli {

void add_doctor(const Verbs& verbs) {
    CLI::App* verb = verbs.add("doctor", kHostGroup,
                               "Check whether this host can run sandboxes, and say how to repair what is wrong");
    auto as_json = std::make_shared<bool>(false);
    verb->add_flag("--json", *as_json, "Print JSON");
    verb->callback([verbs, as_json] {
        verbs.action = [as_json](Reporter&) {
            const std::vector<Check> checks = examine_host(sentry_images());
            const std::string text = *as_json ? describe_as_json(checks) : describe_as_text(checks);
            std::fputs(text.c_str(), stdout);
            return can_run(checks) ? 0 : host::kExitOwnFailure;
        };
    });
}

}  // namespace kvmsbx::oci::cli
