#pragma once
// The file that is RAM on the process platform: the sandbox process maps all of it, stubs map pieces.
#include "common/base/result.hpp"
#include "common/host/fd.hpp"

namespace kvmsbx::vmm {

// An empty, nameless file on a tmpfs of its own with 2 MiB pages, which make page faults some ten times cheaper than a
// memfd's. To be called with CAP_SYS_ADMIN in a private mount namespace, before the process confines itself. -1 where
// that does not work: run_sandbox() then makes a memfd.
int open_ram_file();

// A memfd. Fails with errno.
Result<host::Fd> make_ram_memfd();

}  // namespace kvmsbx::vmm
