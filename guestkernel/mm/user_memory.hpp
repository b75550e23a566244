#pragma once
// User memory as types. Nothing else turns user addresses into memory: these walk the task's page table in software and
// use the direct map, faulting pages in as the CPU would, so a call can be served on any vCPU. May block (page faults
// on files). Only trivially copyable types.
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "common/base/result.hpp"
#include "guestkernel/lib/string.hpp"

namespace kvmsbx::mm {

class AddressSpace;
using UserAddress = uint64_t;

// Copies all `size` bytes, or EFAULT (bytes before the bad page may have been copied).
Result<> copy_from_user(AddressSpace& space, void* to, UserAddress from, size_t size);
Result<> copy_to_user(AddressSpace& space, UserAddress to, const void* from, size_t size);
Result<> clear_user(AddressSpace& space, UserAddress to, size_t size);
// A NUL-terminated string of at most `limit` bytes with the NUL; ENAMETOOLONG beyond, EFAULT.
Result<String> copy_string_from_user(AddressSpace& space, UserAddress from, size_t limit);

// May a T be copied to an application as it stands? Only where each of its bits is part of a value: what lies in hidden
// padding is whatever was on the kernel stack. Such a type wants fields for its gaps.
template <typename T>
inline constexpr bool kHasNoPadding = std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>;

// Typed pointers, for the parameters of system-call handlers (they also tell --strace what to print).
template <typename T>
struct UserIn {
    static_assert(std::is_trivially_copyable_v<T>);
    UserAddress address;
    explicit operator bool() const { return address != 0; }
    Result<T> load(AddressSpace& space) const {
        T value;
        TRY(copy_from_user(space, &value, address, sizeof(T)));
        return value;
    }
    Result<> load_array(AddressSpace& space, std::span<T> out) const {
        return copy_from_user(space, out.data(), address, out.size_bytes());
    }
};

template <typename T>
struct UserOut {
    static_assert(std::is_trivially_copyable_v<T> && kHasNoPadding<T>);
    UserAddress address;
    explicit operator bool() const { return address != 0; }
    Result<> store(AddressSpace& space, const T& value) const {
        return copy_to_user(space, address, &value, sizeof(T));
    }
    Result<> store_array(AddressSpace& space, std::span<const T> values) const {
        return copy_to_user(space, address, values.data(), values.size_bytes());
    }
};

template <typename T>
struct UserInOut {
    UserAddress address;
    explicit operator bool() const { return address != 0; }
    Result<T> load(AddressSpace& space) const { return UserIn<T>{address}.load(space); }
    Result<> store(AddressSpace& space, const T& value) const { return UserOut<T>{address}.store(space, value); }
};

// A path or name in user memory.
struct UserString {
    UserAddress address;
    explicit operator bool() const { return address != 0; }
    Result<String> load(AddressSpace& space, size_t limit = 4096) const {
        return copy_string_from_user(space, address, limit);
    }
};

// Untyped bytes in user memory: buffers of read and write.
struct UserBuffer {
    UserAddress address;
};

struct UserIovec {  // struct iovec
    UserAddress base;
    uint64_t length;
};
inline constexpr size_t kMaxIovecs = 1024;          // UIO_MAXIOV
inline constexpr size_t kMaxTransfer = 0x7ffff000;  // MAX_RW_COUNT

// The bytes of one read or write: user memory (one buffer or an iovec array) or kernel memory. A cursor moves along.
class IoBuffer {
  public:
    // EFAULT if the range does not lie in the user half. Cut to kMaxTransfer.
    static Result<IoBuffer> user(AddressSpace& space, UserAddress address, size_t size);
    // Reads the iovec array: EINVAL (count or lengths), EFAULT. Cut to kMaxTransfer.
    static Result<IoBuffer> user_vector(AddressSpace& space, UserAddress iovecs, size_t count);
    static IoBuffer kernel(std::span<std::byte> bytes);
    static IoBuffer kernel_readonly(std::span<const std::byte> bytes);
    IoBuffer(IoBuffer&&) = default;

    size_t remaining() const { return remaining_; }
    bool empty() const { return remaining_ == 0; }
    // Into the buffer (read's direction). Copies min(size, remaining()); the count copied, or EFAULT if none could be.
    Result<size_t> put(const void* from, size_t size);
    Result<size_t> put_zeroes(size_t size);
    // Out of the buffer (write's direction).
    Result<size_t> take(void* to, size_t size);
    // Forgets all but the first `size` of the remaining bytes.
    void limit(size_t size) { remaining_ = size < remaining_ ? size : remaining_; }

  private:
    IoBuffer() = default;
    template <typename Copy>
    Result<size_t> advance(size_t size, Copy copy);
    AddressSpace* space_ = nullptr;  // null: kernel memory
    UserIovec single_{};
    Vector<UserIovec> many_;
    size_t index_ = 0, offset_ = 0, remaining_ = 0;
    UserIovec& segment() { return many_.empty() ? single_ : many_[index_]; }
};

}  // namespace kvmsbx::mm
