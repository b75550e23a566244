#pragma once
// Memory of another process, as a debugger reaches it: protection does not count (see AddressSpace::pin_forced).
#include <cstddef>

#include "guestkernel/mm/address_space.hpp"

namespace kvmsbx::task {

// The bytes moved, fewer where the memory ends; EFAULT if none could be.
Result<size_t> read_remote(mm::AddressSpace& space, mm::UserAddress from, void* to, size_t size);
Result<size_t> write_remote(mm::AddressSpace& space, mm::UserAddress to, const void* from, size_t size);

}  // namespace kvmsbx::task
