#pragma once
// `kvmsbx exec`: one more process in a container that runs.
//
// The process is the Sentry's; a process of the host waits for it and ends as it does. In the foreground that is the
// command itself, else a child that the caller's subreaper inherits. Whoever kills the waiting process ends the one in
// the sandbox, too.
#include <optional>
#include <string>
#include <vector>

#include "oci/reporter.hpp"

namespace kvmsbx::oci {

struct ExecOptions {
    std::string id;
    std::string process_file;  // --process; "": out of the fields below and config.json
    std::vector<std::string> args;
    std::vector<std::string> env;  // besides config.json's
    std::string cwd;               // "": config.json's
    std::string user;              // UID[:GID]; "": config.json's
    std::vector<uint32_t> additional_gids;
    std::vector<std::string> capabilities;
    bool tty = false;
    bool no_new_privileges = false;
    bool detach = false;
    bool ignore_paused = false;
    unsigned preserve_fds = 0;
    std::string pid_file, console_socket;
};

// The process's exit code (0 with `detach`), or another one after a line to the reporter.
int exec_in_container(const std::string& root, const ExecOptions& options, Reporter& reporter);

}  // namespace kvmsbx::oci
