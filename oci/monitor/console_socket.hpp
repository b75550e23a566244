#pragma once
// A terminal of the host for a container or an exec that runs detached: the engine gets the master over its console
// socket, and the sandbox the other end, in raw mode. The Sentry has the line discipline.
#include <string>

#include "common/host/fd.hpp"
#include "oci/outcome.hpp"
#include "oci/spec.hpp"

namespace kvmsbx::oci {

// Makes a terminal of that size (rows 0: the engine sets the size later), sends its master to the listener at
// `socket_path`, and gives the other end. The caller should be the leader of a session without a terminal: the new one
// becomes its controlling terminal, so that it gets SIGWINCH.
Outcome<host::Fd> open_console(const std::string& socket_path, const ConsoleSize& size);

// The size of the terminal `fd`; rows 0: it has none.
ConsoleSize terminal_size(int fd);

}  // namespace kvmsbx::oci
