#pragma once
// A process that does nothing until `run` is killed without a chance to clean up (SIGKILL): then it restores the
// terminal and removes the container's folder and control groups. The gofer and the sandbox process end by themselves in
// that case (PR_SET_PDEATHSIG, control socket).
#include <string>

#include "common/host/fd.hpp"
#include "oci/outcome.hpp"
#include "oci/terminal.hpp"

namespace kvmsbx::oci {

class Janitor {
  public:
    // Forks. To be called before there is anything to clean, and while the process has one thread.
    static Outcome<Janitor> start(const std::string& state_root, const std::string& id,
                                  const std::optional<RawTerminal>& terminal);

    // Ends it: everything was cleaned up in the usual way.
    void dismiss();

  private:
    pid_t pid_ = -1;
    host::Fd lifeline_;
};

}  // namespace kvmsbx::oci
