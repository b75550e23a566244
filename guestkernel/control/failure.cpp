#include "guestkernel/control/failure.hpp"

#include "guestkernel/syscalls/dispatch.hpp"

namespace kvmsbx::control {

std::string_view text_of(Errno error) {
    const char* text = syscalls::error_text(static_cast<int>(error));
    return text ? std::string_view(text) : std::string_view("unknown error");
}

bool fail(Failure& failure, std::string_view what, std::string_view name, Errno error, std::string_view advice) {
    format_to(failure.text, "{} \"{}\": {}; {}", what, name, text_of(error), advice);
    return false;
}

}  // namespace kvmsbx::control
