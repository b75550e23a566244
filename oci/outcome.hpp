#pragma once
// Outcome<T>: a value, or a Failure that already says in one line what failed, why and what to do. The OCI side speaks
// to people, so an errno alone is not enough there. TRY of common/base/result.hpp works with it.
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "common/base/result.hpp"

namespace kvmsbx::oci {

struct Failure {
    std::string message;
};

// "opening /x: Permission denied" for the errno given.
Failure errno_failure(const std::string& what, int error_number);

template <typename T = void>
class [[nodiscard]] Outcome {
  public:
    Outcome(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Outcome(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}

    bool is_ok() const { return state_.index() == 0; }
    bool is_error() const { return !is_ok(); }
    const Failure& error() const { return std::get<1>(state_); }
    T& value() { return std::get<0>(state_); }
    const T& value() const { return std::get<0>(state_); }
    T release_value() { return std::move(std::get<0>(state_)); }

  private:
    std::variant<T, Failure> state_;
};

template <>
class [[nodiscard]] Outcome<void> {
  public:
    Outcome() = default;
    Outcome(Failure failure) : failure_(std::move(failure)) {}

    bool is_ok() const { return !failure_; }
    bool is_error() const { return !is_ok(); }
    const Failure& error() const { return *failure_; }
    void release_value() {}

  private:
    std::optional<Failure> failure_;
};

}  // namespace kvmsbx::oci
