#pragma once
// Reference counting for Sentry objects. Counts are plain integers: every one of them is touched with the kernel lock
// held (sched/kernel_lock.hpp).
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "common/base/result.hpp"
#include "guestkernel/lib/assert.hpp"

namespace kvmsbx {

class RefCounted {
  public:
    RefCounted() = default;
    RefCounted(const RefCounted&) = delete;
    RefCounted& operator=(const RefCounted&) = delete;
    void ref() const { ++references_; }
    // The last reference ends the object.
    void unref() const {
        VERIFY(references_ > 0);
        if (--references_ == 0) const_cast<RefCounted*>(this)->last_reference_gone();
    }
    uint32_t reference_count() const { return references_; }

  protected:
    virtual ~RefCounted() = default;
    virtual void last_reference_gone() { delete this; }

  private:
    mutable uint32_t references_ = 1;
};

// A counted pointer, may be null. RefPtr<T>::adopt takes over the reference that a new object is born with.
template <typename T>
class RefPtr {
  public:
    RefPtr() = default;
    RefPtr(std::nullptr_t) {}
    RefPtr(T& object) : pointer_(&object) { object.ref(); }
    explicit RefPtr(T* object) : pointer_(object) {
        if (object) object->ref();
    }
    RefPtr(const RefPtr& other) : RefPtr(other.pointer_) {}
    RefPtr(RefPtr&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
    template <typename U>
    requires std::is_convertible_v<U*, T*> RefPtr(const RefPtr<U>& other) : RefPtr(static_cast<T*>(other.get())) {}
    template <typename U>
    requires std::is_convertible_v<U*, T*> RefPtr(RefPtr<U>&& other) : pointer_(other.leak()) {}
    ~RefPtr() {
        if (pointer_) pointer_->unref();
    }
    RefPtr& operator=(RefPtr other) noexcept {
        std::swap(pointer_, other.pointer_);
        return *this;
    }
    static RefPtr adopt(T* object) {
        RefPtr p;
        p.pointer_ = object;
        return p;
    }
    T* get() const { return pointer_; }
    T* leak() { return std::exchange(pointer_, nullptr); }
    T& operator*() const {
        VERIFY(pointer_);
        return *pointer_;
    }
    T* operator->() const {
        VERIFY(pointer_);
        return pointer_;
    }
    explicit operator bool() const { return pointer_ != nullptr; }
    friend bool operator==(const RefPtr& a, const RefPtr& b) { return a.pointer_ == b.pointer_; }
    friend bool operator==(const RefPtr& a, const T* b) { return a.pointer_ == b; }

  private:
    T* pointer_ = nullptr;
};

// A new reference-counted object, or ENOMEM.
template <typename T, typename... Args>
Result<RefPtr<T>> make_ref(Args&&... args) {
    T* object = new (std::nothrow) T(std::forward<Args>(args)...);
    if (!object) return Errno::kNOMEM;
    return RefPtr<T>::adopt(object);
}

// An owned object, may be null.
template <typename T>
class OwnPtr {
  public:
    OwnPtr() = default;
    OwnPtr(std::nullptr_t) {}
    explicit OwnPtr(T* object) : pointer_(object) {}
    OwnPtr(OwnPtr&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
    OwnPtr& operator=(OwnPtr&& other) noexcept {
        std::swap(pointer_, other.pointer_);
        return *this;
    }
    ~OwnPtr() { delete pointer_; }
    T* get() const { return pointer_; }
    T* leak() { return std::exchange(pointer_, nullptr); }
    T& operator*() const { return *pointer_; }
    T* operator->() const { return pointer_; }
    explicit operator bool() const { return pointer_ != nullptr; }

  private:
    T* pointer_ = nullptr;
};

// A new owned object, or ENOMEM.
template <typename T, typename... Args>
Result<OwnPtr<T>> make_own(Args&&... args) {
    T* object = new (std::nothrow) T(std::forward<Args>(args)...);
    if (!object) return Errno::kNOMEM;
    return OwnPtr<T>(object);
}

}  // namespace kvmsbx
