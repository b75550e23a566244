#pragma once
// The one table of system calls. A handler is a function
//     Result<int64_t> sys_read(Task& task, Fd fd, UserBuffer buffer, size_t count);
// in a file per family; its entry SYSCALL(number, name, support, note) stands in table_<family>.inc. From the handler's
// parameter types come the decoding of registers, --strace lines and docs/compatibility.md.
#include <cstdint>
#include <tuple>

#include "guestkernel/lib/format.hpp"
#include "guestkernel/mm/user_memory.hpp"
#include "guestkernel/platform/user_context.hpp"

namespace kvmsbx::task {
class Task;
}

namespace kvmsbx::syscalls {

using mm::UserBuffer;
using mm::UserIn;
using mm::UserInOut;
using mm::UserOut;
using mm::UserString;
using task::Task;

// Parameter types that tell what a number means. Each converts to its number.
template <typename Tag, typename Number>
struct Named {
    Number value;
    operator Number() const { return value; }
};
using Fd = Named<struct FdTag, int32_t>;
using DirFd = Named<struct DirFdTag, int32_t>;  // AT_FDCWD or a descriptor
using OpenFlags = Named<struct OpenFlagsTag, uint32_t>;
using Mode = Named<struct ModeTag, uint32_t>;    // octal
using Flags = Named<struct FlagsTag, uint64_t>;  // hexadecimal
using SignalNumber = Named<struct SignalTag, int32_t>;
using Pid = Named<struct PidTag, int32_t>;

enum class Support : uint8_t { kFull, kPartial, kAbsent };

void print_argument(TextSink& sink, Task& task, Fd value);
void print_argument(TextSink& sink, Task& task, DirFd value);
void print_argument(TextSink& sink, Task& task, OpenFlags value);
void print_argument(TextSink& sink, Task& task, Mode value);
void print_argument(TextSink& sink, Task& task, Flags value);
void print_argument(TextSink& sink, Task& task, SignalNumber value);
void print_argument(TextSink& sink, Task& task, UserString value);
void print_argument(TextSink& sink, Task& task, UserBuffer value);
void print_address(TextSink& sink, uint64_t address);
inline void print_argument(TextSink& sink, Task&, Pid value) { format_to(sink, "{}", value.value); }
inline void print_argument(TextSink& sink, Task&, int32_t value) { format_to(sink, "{}", value); }
inline void print_argument(TextSink& sink, Task&, uint32_t value) { format_to(sink, "{}", value); }
inline void print_argument(TextSink& sink, Task&, int64_t value) { format_to(sink, "{}", value); }
inline void print_argument(TextSink& sink, Task&, uint64_t value) { format_to(sink, "{}", value); }
template <typename T>
void print_argument(TextSink& sink, Task&, UserIn<T> value) {
    print_address(sink, value.address);
}
template <typename T>
void print_argument(TextSink& sink, Task&, UserOut<T> value) {
    print_address(sink, value.address);
}
template <typename T>
void print_argument(TextSink& sink, Task&, UserInOut<T> value) {
    print_address(sink, value.address);
}

// A parameter from its register; numbers are truncated as the C ABI does.
template <typename T>
T decode(uint64_t raw) {
    if constexpr (std::is_integral_v<T>)
        return static_cast<T>(raw);
    else if constexpr (requires(T t) { t.address; })
        return T{raw};
    else
        return T{static_cast<decltype(T::value)>(raw)};
}

inline constexpr uint64_t abi::UserRegs::*kArgumentRegisters[] = {&abi::UserRegs::rdi, &abi::UserRegs::rsi,
                                                                  &abi::UserRegs::rdx, &abi::UserRegs::r10,
                                                                  &abi::UserRegs::r8,  &abi::UserRegs::r9};

template <auto Handler>
struct Invoke;
template <typename... Args, Result<int64_t> (*Handler)(Task&, Args...)>
struct Invoke<Handler> {
    static constexpr unsigned kArguments = sizeof...(Args);
    template <size_t... I>
    static Result<int64_t> call(Task& task, const abi::UserRegs& regs, std::index_sequence<I...>) {
        (void)regs;
        return Handler(task, decode<Args>(regs.*kArgumentRegisters[I])...);
    }
    static Result<int64_t> invoke(Task& task, const abi::UserRegs& regs) {
        return call(task, regs, std::index_sequence_for<Args...>{});
    }
    template <size_t... I>
    static void print_all(TextSink& sink, Task& task, const uint64_t* raw, std::index_sequence<I...>) {
        (void)raw;
        (((I > 0 ? sink.put(", ") : void()), print_argument(sink, task, decode<Args>(raw[I]))), ...);
    }
    static void print(TextSink& sink, Task& task, const uint64_t* raw) {
        print_all(sink, task, raw, std::index_sequence_for<Args...>{});
    }
};

struct Entry {
    uint16_t number;
    Support support;
    const char* name;
    const char* note;  // what is missing, for kPartial
    Result<int64_t> (*invoke)(Task&, const abi::UserRegs& regs);
    void (*print)(TextSink&, Task&, const uint64_t* arguments);
};

inline constexpr unsigned kMaxSyscall = 512;
struct Table {
    const Entry* by_number[kMaxSyscall];
};
extern const Table table;
// Null where there is none: ENOSYS.
inline const Entry* find(uint64_t number) { return number < kMaxSyscall ? table.by_number[number] : nullptr; }

}  // namespace kvmsbx::syscalls
