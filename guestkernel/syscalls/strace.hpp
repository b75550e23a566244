#pragma once
// --strace: a line per call, as strace(1) writes it. Input arguments are printed before the call runs (a pathname may
// be overwritten by it, an execve never comes back to where it was); a buffer that the call fills is printed after it.
#include "guestkernel/lib/format.hpp"
#include "guestkernel/syscalls/syscall.hpp"

namespace kvmsbx::syscalls {

class StraceLine {
  public:
    StraceLine(Task& task, uint64_t number, const uint64_t* arguments);
    // result: rax as the application (or signal delivery, for restart codes) will see it.
    void finish(uint64_t result);

  private:
    void print_arguments();
    Task& task_;
    uint64_t number_;
    uint64_t arguments_[6];
    const Entry* entry_;
    FixedText<512> text_;
    bool printed_ = false;
};

// Bytes as a C string literal; cut after `limit` bytes with "...". more: there are bytes beyond.
void print_quoted(TextSink& sink, std::string_view bytes, size_t limit, bool more);
void print_result(TextSink& sink, uint64_t result);
// Flag words by name; unknown bits in hexadecimal.
void print_open_flags(TextSink& sink, uint32_t flags);
void print_protection(TextSink& sink, uint64_t flags);
void print_map_flags(TextSink& sink, uint64_t flags);
void print_clone_flags(TextSink& sink, uint64_t flags);

}  // namespace kvmsbx::syscalls
