#include "oci/container/access.hpp"
#include "oci/container/lifecycle.hpp"

namespace kvmsbx::oci {
namespace {

template <typename Request>
Outcome<> ask_for(const std::string& root, const std::string& id) {
    const Container container = TRY(find_container(root, id));
    ControlConnection monitor = TRY(connect(container));
    TRY(ask(monitor, Request{}));
    return {};
}

}  // namespace

int pause_container(const std::string& root, const std::string& id, Reporter& reporter) {
    return finish(ask_for<control::Pause>(root, id), reporter);
}

int resume_container(const std::string& root, const std::string& id, Reporter& reporter) {
    return finish(ask_for<control::Resume>(root, id), reporter);
}

}  // namespace kvmsbx::oci
