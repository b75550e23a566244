#include "oci/control/client.hpp"

namespace kvmsbx::oci {

Outcome<Frame> receive_answer(ControlConnection& connection) {
    Result<std::optional<Frame>> received = connection.receive();
    if (received.is_error() && received.error() == Errno::kPIPE)
        return Failure{"container not running: the connection to its monitor broke"};
    if (received.is_error()) return Failure{"the monitor does not speak this version's control protocol"};
    Frame frame = std::move(*received.value());
    if (!frame.is<control::Failed<wire::Viewed>>()) return frame;
    Result<control::Failed<wire::Viewed>> failed = frame.as<control::Failed<wire::Viewed>>();
    return Failure{failed.is_ok() ? std::string(failed->text) : "the monitor refused without a reason"};
}

}  // namespace kvmsbx::oci
