// The parser of config.json and the encoder behind it: no input may crash, hang or take much memory, and each refusal
// is one line with the file's name.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "oci/app_spec.hpp"
#include "oci/spec.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace kvmsbx::oci;
    const std::string text(data, data + size);
    const Outcome<Spec> spec = parse_spec(text, "config.json");
    if (spec.is_ok()) {
        const auto made = make_sandbox_spec(spec.value(), {});
        if (made.is_error()) return 0;  // a seccomp profile that cannot be compiled
        const auto bytes = kvmsbx::wire::encode(made.value());
        if (kvmsbx::wire::decode<kvmsbx::spec::SandboxSpec<kvmsbx::wire::Viewed>>(bytes).is_error()) std::abort();
    } else {
        const std::string& message = spec.error().message;
        if (!message.starts_with("config.json: ") || message.size() > 1100 || message.find('\n') != std::string::npos)
            std::abort();
    }
    return 0;
}
