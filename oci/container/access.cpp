#include "oci/container/access.hpp"

#include "common/host/write_all.hpp"
#include "oci/monitor/listener.hpp"

namespace kvmsbx::oci {

Outcome<Container> find_container(const std::string& root, const std::string& id) {
    ContainerFolder folder = TRY(ContainerFolder::open(root, id));
    ContainerRecord record = TRY(folder.read_record());
    const Status status = record.effective_status();
    return Container{std::move(folder), std::move(record), status};
}

Outcome<ControlConnection> connect(const Container& container) {
    if (container.status == Status::kStopped) return Failure{"container not running: " + container.record.id};
    return connect_to_monitor(container.folder);
}

Outcome<Spec> read_spec(const ContainerFolder& folder) {
    return parse_spec(TRY(folder.read_config()), "config.json of container " + folder.id());
}

SandboxPlatform platform_of(const ContainerRecord& record) {
    return record.platform == "process" ? SandboxPlatform::kProcess : SandboxPlatform::kKvm;
}

Outcome<> print(std::string_view text) {
    const Result<> written = host::write_all(1, text);
    if (written.is_error()) return errno_failure("writing to standard output", static_cast<int>(written.error()));
    return {};
}

int finish(const Outcome<>& outcome, Reporter& reporter) {
    if (outcome.is_ok()) return 0;
    if (!outcome.error().message.empty()) reporter.error(outcome.error().message);
    return 1;  // as runc
}

}  // namespace kvmsbx::oci
