#pragma once
// Result<T>: a value or an errno. What is done with one is said where it is made:
//   TRY(expression)        unwraps, or returns the error from the enclosing function
//   MUST(expression)       unwraps; an error is a defect and panics with the expression's text
//   ignore(result, "why")  goes on whatever the result is
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "common/base/errno.hpp"
#include "common/base/panic.hpp"

namespace kvmsbx {

template <typename T = void>
class [[nodiscard]] Result {
  public:
    Result(T value) : ok_(true) { new (&value_) T(std::move(value)); }
    Result(Errno error) : error_(error), ok_(false) {}
    template <typename U>
    requires(std::is_convertible_v<U, T> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
             !std::is_same_v<std::remove_cvref_t<U>, T> && !std::is_same_v<std::remove_cvref_t<U>, Errno>)
        Result(U&& value)
        : ok_(true) {
        new (&value_) T(std::forward<U>(value));
    }
    Result(Result&& other) : ok_(other.ok_) {
        if (ok_)
            new (&value_) T(std::move(other.value_));
        else
            error_ = other.error_;
    }
    Result& operator=(Result&& other) {
        if (this != &other) {
            this->~Result();
            new (this) Result(std::move(other));
        }
        return *this;
    }
    ~Result() {
        if (ok_) value_.~T();
    }

    bool is_ok() const { return ok_; }
    bool is_error() const { return !ok_; }
    explicit operator bool() const { return ok_; }
    Errno error() const { return error_; }
    T& value() { return value_; }
    const T& value() const { return value_; }
    T release_value() { return std::move(value_); }
    T value_or(T other) const { return ok_ ? value_ : std::move(other); }
    T* operator->() { return &value_; }
    T& operator*() { return value_; }

  private:
    union {
        T value_;
        Errno error_;
    };
    bool ok_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Errno error) : error_(error) {}
    bool is_ok() const { return error_ == Errno{}; }
    bool is_error() const { return !is_ok(); }
    explicit operator bool() const { return is_ok(); }
    Errno error() const { return error_; }
    void release_value() {}

  private:
    Errno error_{};
};

// `why`, a literal, tells the reader why no error needs an answer here.
template <typename Outcome, size_t kSize>
requires requires(const Outcome& outcome) { outcome.is_error(); }
void ignore(const Outcome&, const char (&)[kSize]) { static_assert(kSize > 1, "ignore() wants a reason"); }

}  // namespace kvmsbx

#define TRY(expression)                          \
    ({                                           \
        auto try_result_ = (expression);         \
        if (try_result_.is_error()) [[unlikely]] \
            return try_result_.error();          \
        try_result_.release_value();             \
    })

#define MUST(expression)                                                                  \
    ({                                                                                    \
        auto must_result_ = (expression);                                                 \
        if (must_result_.is_error()) [[unlikely]]                                         \
            ::kvmsbx::panic(__FILE__ ":" KVMSBX_STRING(__LINE__) ": MUST: " #expression); \
        must_result_.release_value();                                                     \
    })
