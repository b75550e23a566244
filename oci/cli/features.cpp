#include "oci/features.hpp"

#include <cstdio>

#include "oci/cli/verbs.hpp"

namespace kvmsbx::oci::cli {

void add_features(const Verbs& verbs) {
    CLI::App* verb = verbs.add("features", kHostGroup, "Print what of the runtime specification there is, as JSON");
    verb->callback([verbs] {
        verbs.action = [](Reporter&) {
            std::fputs(features_json(KVMSBX_VERSION).c_str(), stdout);
            return std::fflush(stdout) == 0 ? 0 : 1;
        };
    });
}

}  // namespace kvmsbx::oci::cli
