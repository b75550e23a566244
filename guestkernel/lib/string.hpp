#pragma once
// An owned byte string (NUL-terminated for convenience); building one can fail with ENOMEM.
#include <string_view>

#include "guestkernel/lib/vector.hpp"

namespace kvmsbx {

class String {
  public:
    String() = default;
    String(String&&) = default;
    String& operator=(String&&) = default;
    static Result<String> create(std::string_view text) {
        String s;
        TRY(s.append(text));
        return s;
    }
    Result<String> clone() const { return create(view()); }
    Result<> append(std::string_view text) {
        TRY(bytes_.reserve(size() + text.size() + 1));
        if (!bytes_.empty()) bytes_.pop_back();
        for (char c : text) TRY(bytes_.push_back(c));
        return bytes_.push_back('\0');
    }
    Result<> append(char c) { return append(std::string_view(&c, 1)); }
    std::string_view view() const { return {bytes_.data(), size()}; }
    operator std::string_view() const { return view(); }
    size_t size() const { return bytes_.empty() ? 0 : bytes_.size() - 1; }
    bool empty() const { return size() == 0; }
    const char* c_str() const { return bytes_.empty() ? "" : bytes_.data(); }
    void clear() { bytes_.clear(); }
    friend bool operator==(const String& a, std::string_view b) { return a.view() == b; }

  private:
    Vector<char> bytes_;
};

}  // namespace kvmsbx
