#include "guestkernel/task/remote_memory.hpp"

#include <cstring>

namespace kvmsbx::task {
namespace {

// Calls use(bytes in memory, count, done so far) page by page.
template <typename Use>
Result<size_t> for_remote(mm::AddressSpace& space, mm::UserAddress address, size_t size, mm::Access access, Use use) {
    size_t done = 0;
    while (done < size) {
        const mm::UserAddress at = address + done;
        const auto pinned = space.pin_forced(at, access);
        if (pinned.is_error()) {
            if (done) return done;
            return pinned.error() == Errno::kNOMEM ? Errno::kNOMEM : Errno::kFAULT;
        }
        const size_t offset = at % mm::kPageSize, in_page = mm::kPageSize - offset;
        const size_t step = size - done < in_page ? size - done : in_page;
        use(static_cast<char*>(pinned.value()->data()) + offset, step, done);
        mm::release(pinned.value());
        done += step;
    }
    return done;
}

}  // namespace

Result<size_t> read_remote(mm::AddressSpace& space, mm::UserAddress from, void* to, size_t size) {
    return for_remote(space, from, size, mm::Access::kRead, [to](const char* at, size_t step, size_t done) {
        memcpy(static_cast<char*>(to) + done, at, step);
    });
}

Result<size_t> write_remote(mm::AddressSpace& space, mm::UserAddress to, const void* from, size_t size) {
    return for_remote(space, to, size, mm::Access::kWrite, [from](char* at, size_t step, size_t done) {
        memcpy(at, static_cast<const char*>(from) + done, step);
    });
}

}  // namespace kvmsbx::task
