#include "common/host/exit_code.hpp"
#include "oci/cli/verbs.hpp"
#include "oci/default_spec.hpp"

namespace kvmsbx::oci::cli {

void add_spec(const Verbs& verbs) {
    CLI::App* verb = verbs.add("spec", kHostGroup, "Write a config.json to start from");
    auto folder = std::make_shared<std::string>(".");
    verb->add_option("-b,--bundle", *folder, "Folder to write it to (default: the current one)")->type_name("DIR");
    verb->callback([verbs, folder] {
        verbs.action = [folder](Reporter& reporter) {
            const Outcome<> written = write_default_spec(*folder + "/config.json");
            if (written.is_ok()) return 0;
            reporter.error(written.error().message);
            return host::kExitOwnFailure;
        };
    });
}

}  // namespace kvmsbx::oci::cli
