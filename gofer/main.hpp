#pragma once

namespace kvmsbx::gofer {

// The hidden subcommand `kvmsbx gofer`: argv[0] is a name for messages. Gives the exit code: 0 when the sandbox is
// gone, 1 and one line on stderr (or --log-fd) when something is wrong.
int gofer_main(int argc, char** argv);

}  // namespace kvmsbx::gofer
