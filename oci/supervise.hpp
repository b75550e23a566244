#pragma once
// What `run` does while the sandbox lives: signals and window sizes go in, messages come out, and when any part ends,
// all of it ends.
#include <optional>

#include "oci/launch.hpp"
#include "oci/reporter.hpp"
#include "oci/terminal.hpp"

namespace kvmsbx::oci {

// Blocks the signals that are forwarded to the application and returns the signalfd on which they come. Before
// launch(), so that none is lost.
Outcome<host::Fd> take_signals();

// For tests of the Sentry's panic: after so many milliseconds the sandbox is told to crash. control::Crash, `kind` is its
// argument.
struct CrashRequest {
    int after_ms = -1;  // -1: none
    unsigned kind = 0;
};

// Until the sandbox process and the gofer are gone. Returns the exit code for `run`: the application's, or
// host::kExitOwnFailure after a line has been reported.
int supervise(SandboxProcesses& processes, const host::Fd& signals, std::optional<RawTerminal>& terminal,
              CrashRequest crash, Reporter& reporter);

}  // namespace kvmsbx::oci
