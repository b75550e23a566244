#pragma once
// A growable array whose growth can fail: push_back gives ENOMEM instead of ending the Sentry.
#include <cstddef>
#include <new>
#include <span>
#include <utility>

#include "common/base/result.hpp"
#include "guestkernel/lib/assert.hpp"

namespace kvmsbx {

template <typename T>
class Vector {
  public:
    Vector() = default;
    Vector(Vector&& other) noexcept { swap(other); }
    Vector& operator=(Vector&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Vector() {
        clear();
        ::operator delete(data_);
    }

    Result<> reserve(size_t capacity) {
        if (capacity <= capacity_) return {};
        const size_t want = capacity_ * 2 > capacity ? capacity_ * 2 : capacity;
        T* grown = static_cast<T*>(::operator new(want * sizeof(T), std::nothrow));
        if (!grown) return Errno::kNOMEM;
        for (size_t i = 0; i < size_; ++i) {
            new (&grown[i]) T(std::move(data_[i]));
            data_[i].~T();
        }
        ::operator delete(data_);
        data_ = grown;
        capacity_ = want;
        return {};
    }
    Result<> push_back(T value) {
        TRY(reserve(size_ + 1));
        new (&data_[size_++]) T(std::move(value));
        return {};
    }
    // New elements are value-initialized.
    Result<> resize(size_t size) {
        TRY(reserve(size));
        while (size_ < size) new (&data_[size_++]) T();
        while (size_ > size) data_[--size_].~T();
        return {};
    }
    void pop_back() {
        VERIFY(size_ > 0);
        data_[--size_].~T();
    }
    // Order is kept.
    void erase(size_t index) {
        VERIFY(index < size_);
        for (size_t i = index + 1; i < size_; ++i) data_[i - 1] = std::move(data_[i]);
        pop_back();
    }
    void clear() {
        while (size_ > 0) data_[--size_].~T();
    }
    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) {
        VERIFY(i < size_);
        return data_[i];
    }
    const T& operator[](size_t i) const {
        VERIFY(i < size_);
        return data_[i];
    }
    T& back() { return (*this)[size_ - 1]; }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }
    const T* begin() const { return data_; }
    const T* end() const { return data_ + size_; }
    std::span<T> span() { return {data_, size_}; }
    std::span<const T> span() const { return {data_, size_}; }
    void swap(Vector& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

  private:
    T* data_ = nullptr;
    size_t size_ = 0, capacity_ = 0;
};

}  // namespace kvmsbx
