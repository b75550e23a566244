#include "guestkernel/mm/user_memory.hpp"

#include <cstring>

#include "guestkernel/mm/address_space.hpp"
#include "guestkernel/platform/host.hpp"

namespace kvmsbx::mm {
namespace {

// Calls use(direct-map address, bytes) for each page of [address, address + size).
template <typename Use>
Result<> for_pages(AddressSpace& space, UserAddress address, size_t size, Access access, Use use) {
    while (size > 0) {
        char* at = space.translate(address, access);
        if (!at) {
            if (auto made = space.fault(address, access); made.is_error())
                return made.error() == Errno::kNOMEM ? Errno::kNOMEM : Errno::kFAULT;
            continue;
        }
        const size_t in_page = kPageSize - address % kPageSize;
        const size_t step = size < in_page ? size : in_page;
        use(at, step);
        address += step;
        size -= step;
    }
    return {};
}

bool in_user_half(UserAddress address, size_t size) {
    return address <= platform::user_end && size <= platform::user_end - address;
}

}  // namespace

Result<> copy_from_user(AddressSpace& space, void* to, UserAddress from, size_t size) {
    if (!in_user_half(from, size)) return Errno::kFAULT;
    char* out = static_cast<char*>(to);
    return for_pages(space, from, size, Access::kRead, [&](const char* at, size_t step) {
        memcpy(out, at, step);
        out += step;
    });
}

Result<> copy_to_user(AddressSpace& space, UserAddress to, const void* from, size_t size) {
    if (!in_user_half(to, size)) return Errno::kFAULT;
    const char* in = static_cast<const char*>(from);
    return for_pages(space, to, size, Access::kWrite, [&](char* at, size_t step) {
        memcpy(at, in, step);
        in += step;
    });
}

Result<> clear_user(AddressSpace& space, UserAddress to, size_t size) {
    if (!in_user_half(to, size)) return Errno::kFAULT;
    return for_pages(space, to, size, Access::kWrite, [&](char* at, size_t step) { memset(at, 0, step); });
}

Result<String> copy_string_from_user(AddressSpace& space, UserAddress from, size_t limit) {
    String text;
    while (text.size() < limit) {
        if (from >= platform::user_end) return Errno::kFAULT;
        const char* at = space.translate(from, Access::kRead);
        if (!at) {
            if (auto made = space.fault(from, Access::kRead); made.is_error())
                return made.error() == Errno::kNOMEM ? Errno::kNOMEM : Errno::kFAULT;
            continue;
        }
        size_t step = kPageSize - from % kPageSize;
        step = step < limit - text.size() ? step : limit - text.size();
        const void* end = memchr(at, 0, step);
        const size_t length = end ? static_cast<size_t>(static_cast<const char*>(end) - at) : step;
        TRY(text.append(std::string_view(at, length)));
        if (end) return text;
        from += step;
    }
    return Errno::kNAMETOOLONG;
}

Result<IoBuffer> IoBuffer::user(AddressSpace& space, UserAddress address, size_t size) {
    if (size > kMaxTransfer) size = kMaxTransfer;
    if (!in_user_half(address, size)) return Errno::kFAULT;
    IoBuffer buffer;
    buffer.space_ = &space;
    buffer.single_ = {address, size};
    buffer.remaining_ = size;
    return buffer;
}

Result<IoBuffer> IoBuffer::user_vector(AddressSpace& space, UserAddress iovecs, size_t count) {
    if (count > kMaxIovecs) return Errno::kINVAL;
    IoBuffer buffer;
    buffer.space_ = &space;
    TRY(buffer.many_.resize(count));
    TRY(UserIn<UserIovec>{iovecs}.load_array(space, buffer.many_.span()));
    for (UserIovec& iovec : buffer.many_) {
        if (static_cast<int64_t>(iovec.length) < 0) return Errno::kINVAL;
        if (iovec.length && !in_user_half(iovec.base, iovec.length)) return Errno::kFAULT;
        if (iovec.length > kMaxTransfer - buffer.remaining_) iovec.length = kMaxTransfer - buffer.remaining_;
        buffer.remaining_ += iovec.length;
    }
    return buffer;
}

IoBuffer IoBuffer::kernel(std::span<std::byte> bytes) {
    IoBuffer buffer;
    buffer.single_ = {reinterpret_cast<uint64_t>(bytes.data()),
                      bytes.size()};  // SAFETY: kept as a number, used by kernel_bytes alone
    buffer.remaining_ = bytes.size();
    return buffer;
}

IoBuffer IoBuffer::kernel_readonly(std::span<const std::byte> bytes) {
    return kernel({const_cast<std::byte*>(bytes.data()), bytes.size()});
}

namespace {
char* kernel_bytes(UserAddress address) {
    return reinterpret_cast<char*>(address);
}  // SAFETY: made by IoBuffer::kernel
}  // namespace

// Calls copy(segment's address, bytes, bytes done so far) piece by piece.
template <typename Copy>
Result<size_t> IoBuffer::advance(size_t size, Copy copy) {
    size = size < remaining_ ? size : remaining_;
    size_t done = 0;
    while (done < size) {
        UserIovec& piece = segment();
        size_t step = piece.length - offset_;
        step = step < size - done ? step : size - done;
        if (step > 0) {
            // Page by page, so that what was copied before a bad page counts.
            const UserAddress at = piece.base + offset_;
            if (space_) {
                const size_t in_page = kPageSize - at % kPageSize;
                step = step < in_page ? step : in_page;
            }
            if (auto copied = copy(at, step, done); copied.is_error()) {
                if (done == 0) return copied.error();
                return done;
            }
        }
        offset_ += step;
        done += step;
        remaining_ -= step;
        if (offset_ == piece.length && !many_.empty() && index_ + 1 < many_.size()) ++index_, offset_ = 0;
    }
    return done;
}

Result<size_t> IoBuffer::put(const void* from, size_t size) {
    return advance(size, [&](UserAddress at, size_t step, size_t done) -> Result<> {
        const char* source = static_cast<const char*>(from) + done;
        if (space_) return copy_to_user(*space_, at, source, step);
        memcpy(kernel_bytes(at), source, step);
        return {};
    });
}

Result<size_t> IoBuffer::put_zeroes(size_t size) {
    return advance(size, [&](UserAddress at, size_t step, size_t) -> Result<> {
        if (space_) return clear_user(*space_, at, step);
        memset(kernel_bytes(at), 0, step);
        return {};
    });
}

Result<size_t> IoBuffer::take(void* to, size_t size) {
    return advance(size, [&](UserAddress at, size_t step, size_t done) -> Result<> {
        char* target = static_cast<char*>(to) + done;
        if (space_) return copy_from_user(*space_, target, at, step);
        memcpy(target, kernel_bytes(at), step);
        return {};
    });
}

}  // namespace kvmsbx::mm
