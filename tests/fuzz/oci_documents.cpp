// What the host side reads besides config.json as a whole: the documents of exec and update, a seccomp profile,
// /etc/kvmsbx.toml, Docker's daemon.json, systemd's messages, and texts of /proc. No input may crash, hang or take much memory, and each
// refusal is one line.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "gofer/owners.hpp"
#include "gofer/spec.hpp"
#include "oci/config_file.hpp"
#include "oci/container/cgroup_hierarchy.hpp"
#include "oci/container/dbus_message.hpp"
#include "oci/install.hpp"
#include "oci/seccomp_profile.hpp"
#include "oci/spec.hpp"

namespace {

using namespace kvmsbx;

void check(const std::string& message) {
    if (message.empty() || message.find('\n') != std::string::npos) std::abort();
}
template <typename T>
void check(const oci::Outcome<T>& outcome) {
    if (outcome.is_error()) check(outcome.error().message);
}

void check_hierarchies(const std::string& text) {
    for (const oci::CgroupHierarchy& hierarchy : oci::parse_cgroup_hierarchies(text, text)) {
        const std::string folder = oci::cgroup_folder(hierarchy, text.substr(0, 200));
        if (folder.find("/../") != std::string::npos && hierarchy.mount.find("..") == std::string::npos &&
            hierarchy.own.find("..") == std::string::npos)
            std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string text(data, data + size);
    std::vector<oci::UnappliedField> unapplied;
    check(oci::parse_process(text, "process.json", unapplied));
    check(oci::parse_resources(text, "resources.json", unapplied));
    const oci::Outcome<oci::Spec> spec = oci::parse_spec(text, "config.json");
    if (spec.is_ok() && spec.value().seccomp) check(oci::compile_seccomp(*spec.value().seccomp));
    check(oci::parse_flag_config(text, "kvmsbx.toml"));
    check(oci::register_runtime(text, "daemon.json", {"kvmsbx", "/usr/bin/kvmsbx", {}}));
    check(oci::unregister_runtime(text, "daemon.json", "kvmsbx"));
    check_hierarchies(text);
    (void)oci::decode_message(text).has_value();
    gofer::GoferSpec gofer_spec;
    std::string error;
    if (!gofer::parse_spec(text, "/bundle", gofer_spec, error)) check(error);
    const gofer::IdRanges ranges = gofer::parse_id_map(text.substr(0, 2000));
    const gofer::IdTable table = gofer::IdTable::create(ranges, ranges, ranges);
    for (const uint32_t id : {0u, 1u, 65534u, 0xffffffffu}) {
        const Result<uint32_t> own = table.to_own(id);
        (void)own.is_ok();
        (void)table.to_client(id);
    }
    return 0;
}
