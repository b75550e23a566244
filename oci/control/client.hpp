#pragma once
// How the verbs ask a monitor.
#include "oci/control/connection.hpp"
#include "oci/outcome.hpp"

namespace kvmsbx::oci {

// The next frame of the monitor's; its Failed becomes a Failure. "container not running": the monitor is gone.
Outcome<Frame> receive_answer(ControlConnection& connection);

template <typename M>
Outcome<Frame> ask(ControlConnection& connection, const M& message, std::span<const int> descriptors = {}) {
    constexpr uint64_t kId = 1;
    const Result<> sent = connection.send(kId, message, descriptors);
    if (sent.is_error() && sent.error() == Errno::kINVAL)
        return Failure{"the arguments and the environment are too large"};
    if (sent.is_error()) return Failure{"container not running: the connection to its monitor broke"};
    return receive_answer(connection);
}

// The answer as a message of type R, whose views point into `frame`.
template <typename R>
Outcome<R> answer_as(const Frame& frame) {
    Result<R> answer = frame.as<R>();
    if (answer.is_error()) return Failure{std::string("the monitor's answer is no ") + R::kName};
    return answer.release_value();
}

}  // namespace kvmsbx::oci
