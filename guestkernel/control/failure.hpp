#pragma once
// Why a process cannot be started, for people: one line with what, why and what to do; and the exit code that goes with
// it.
#include "guestkernel/lib/format.hpp"

namespace kvmsbx::control {

inline constexpr int kOwnFailure = 125, kNotExecutable = 126, kNotFound = 127;

struct Failure {
    static constexpr size_t kMost = 1024;  // bytes of text
    int code = kOwnFailure;
    FixedText<kMost> text;
};

// `WHAT "NAME": error; ADVICE`. Gives false.
bool fail(Failure& failure, std::string_view what, std::string_view name, Errno error, std::string_view advice);
std::string_view text_of(Errno error);

}  // namespace kvmsbx::control
