#include "guestkernel/syscalls/strace.hpp"

#include "guestkernel/mm/user_memory.hpp"
#include "guestkernel/platform/host.hpp"
#include "guestkernel/syscalls/dispatch.hpp"
#include "guestkernel/syscalls/handlers_memory.hpp"
#include "guestkernel/syscalls/handlers_process.hpp"
#include "guestkernel/task/task.hpp"

namespace kvmsbx::syscalls {

bool strace_enabled = false;

void init_strace() {
    strace_enabled = platform::strace_wanted();
    if (strace_enabled) task::watch_all_calls = task::kWatchStrace;
}

namespace {

constexpr size_t kStringLimit = 32;  // as strace -s
constexpr size_t kPathLimit = 256;

enum Number : uint64_t {
    kRead = 0,
    kWrite = 1,
    kSigaction = 13,
    kSigprocmask = 14,
    kPread = 17,
    kPwrite = 18,
    kSendto = 44,
    kRecvfrom = 45,
    kExit = 60,
    kGetcwd = 79,
    kReadlink = 89,
    kExitGroup = 231,
    kReadlinkat = 267,
    kGetrandom = 318,
};

// Calls that fill a buffer: printed when it is full.
bool fills_buffer(uint64_t number) {
    switch (number) {
        case kRead:
        case kPread:
        case kRecvfrom:
        case kGetcwd:
        case kReadlink:
        case kReadlinkat:
        case kGetrandom: return true;
        default: return false;
    }
}

bool never_returns(uint64_t number) { return number == kExit || number == kExitGroup; }

// What print_argument(UserBuffer) has to know of the call: where the line of this task is being made. A print may block
// (page fault), so it is found by task.
struct Context {
    Task& task;
    uint64_t number;
    const uint64_t* arguments;
    bool finished;
    uint64_t result;
    Context* next;
};
Context* contexts;

struct ContextGuard {
    Context& context;
    explicit ContextGuard(Context& c) : context(c) {
        context.next = contexts;
        contexts = &context;
    }
    ~ContextGuard() {
        Context** at = &contexts;
        while (*at != &context) at = &(*at)->next;
        *at = context.next;
    }
};

const Context* context_of(Task& task) {
    for (Context* c = contexts; c; c = c->next)
        if (&c->task == &task) return c;
    return nullptr;
}

// How many bytes of the buffer at `address` mean something; -1: unknown.
int64_t buffer_length(const Context& context, uint64_t address) {
    if (fills_buffer(context.number)) {
        if (!context.finished || static_cast<int64_t>(context.result) < 0) return -1;
        return static_cast<int64_t>(context.result);
    }
    if (context.number != kWrite && context.number != kPwrite && context.number != kSendto) return -1;
    return context.arguments[1] == address ? static_cast<int64_t>(context.arguments[2]) : -1;
}

void print_signal_set(TextSink& sink, Task& task, uint64_t address) {
    auto loaded = mm::UserIn<uint64_t>{address}.load(task.space());
    if (!address || loaded.is_error()) return print_address(sink, address);
    uint64_t bits = loaded.value();
    const bool inverted = __builtin_popcountll(bits) > 32;
    if (inverted) bits = ~bits;
    sink.put(inverted ? "~[" : "[");
    for (int signal = 1, count = 0; signal <= task::kSigMax; ++signal) {
        if (!(bits >> (signal - 1) & 1)) continue;
        if (count++ > 0) sink.put(" ");
        sink.put(std::string_view(task::signal_name(signal)).substr(3));
    }
    sink.put("]");
}

void print_sigaction(TextSink& sink, Task& task, uint64_t address) {
    auto loaded = mm::UserIn<task::SigAction>{address}.load(task.space());
    if (!address || loaded.is_error()) return print_address(sink, address);
    const task::SigAction& action = loaded.value();
    sink.put("{sa_handler=");
    if (action.handler <= 1)
        sink.put(action.handler == task::kSigDfl ? "SIG_DFL" : "SIG_IGN");
    else
        print_address(sink, action.handler);
    format_to(sink, ", sa_flags=0x{x}}", action.flags);
}

// The calls whose arguments read better than their types tell. False: the table's printer does it.
bool print_specially(TextSink& sink, Task& task, uint64_t number, const uint64_t* a) {
    switch (number) {
        case kSigaction:
            print_argument(sink, task, SignalNumber{static_cast<int32_t>(a[0])});
            sink.put(", ");
            print_sigaction(sink, task, a[1]);
            sink.put(", ");
            print_address(sink, a[2]);
            return true;
        case kSigprocmask: {
            static constexpr std::string_view kHow[] = {"SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"};
            if (a[0] < 3)
                sink.put(kHow[a[0]]);
            else
                format_to(sink, "{}", a[0]);
            sink.put(", ");
            print_signal_set(sink, task, a[1]);
            sink.put(", ");
            print_address(sink, a[2]);
            return true;
        }
        default: return false;
    }
}

}  // namespace

StraceLine::StraceLine(Task& task, uint64_t number, const uint64_t* arguments)
    : task_(task), number_(number), entry_(find(number)) {
    for (int i = 0; i < 6; ++i) arguments_[i] = arguments[i];
    format_to(text_, "[{}] ", task.tid);
    if (entry_)
        text_.put(entry_->name);
    else
        format_to(text_, "syscall_{}", number);
    text_.put("(");
    if (fills_buffer(number)) return;
    Context context{task_, number_, arguments_, false, 0, nullptr};
    ContextGuard guard(context);
    print_arguments();
    if (!never_returns(number)) return;
    text_.put(") = ?");
    log_line(text_.view());
}

void StraceLine::print_arguments() {
    printed_ = true;
    if (!entry_) {
        for (int i = 0; i < 6; ++i) {
            if (i > 0) text_.put(", ");
            print_address(text_, arguments_[i]);
        }
        return;
    }
    if (!print_specially(text_, task_, number_, arguments_)) entry_->print(text_, task_, arguments_);
}

void StraceLine::finish(uint64_t result) {
    if (never_returns(number_)) return;
    if (!printed_) {
        Context context{task_, number_, arguments_, true, result, nullptr};
        ContextGuard guard(context);
        print_arguments();
    }
    text_.put(") = ");
    print_result(text_, result);
    log_line(text_.view());
}

void print_result(TextSink& sink, uint64_t result) {
    const auto value = static_cast<int64_t>(result);
    if (value >= 0 || value < -4095) {
        if (value >= 0x10000000 || value < 0)
            format_to(sink, "0x{x}", result);
        else
            format_to(sink, "{}", value);
        return;
    }
    const int error = static_cast<int>(-value);
    const char* name = error_name(error);
    if (error >= static_cast<int>(Errno::kRESTARTSYS))
        format_to(sink, "? {} (To be restarted)", name ? name : "ERESTART");
    else if (name)
        format_to(sink, "-1 {} ({})", name, error_text(error));
    else
        format_to(sink, "-1 errno {}", error);
}

void print_address(TextSink& sink, uint64_t address) {
    if (address == 0)
        sink.put("NULL");
    else
        format_to(sink, "0x{x}", address);
}

void print_quoted(TextSink& sink, std::string_view bytes, size_t limit, bool more) {
    sink.put("\"");
    const std::string_view shown = bytes.substr(0, limit);
    for (size_t i = 0; i < shown.size(); ++i) {
        const auto c = static_cast<unsigned char>(shown[i]);
        switch (c) {
            case '\n': sink.put("\\n"); continue;
            case '\t': sink.put("\\t"); continue;
            case '\r': sink.put("\\r"); continue;
            case '\v': sink.put("\\v"); continue;
            case '\f': sink.put("\\f"); continue;
            case '"': sink.put("\\\""); continue;
            case '\\': sink.put("\\\\"); continue;
            default: break;
        }
        if (c >= 0x20 && c < 0x7f) {
            sink.put(shown.substr(i, 1));
            continue;
        }
        // Octal, as short as the next character allows.
        const bool digit_follows = i + 1 < shown.size() && shown[i + 1] >= '0' && shown[i + 1] <= '7';
        char digits[4] = {'\\'};
        size_t count = 1;
        for (int shift = 6; shift >= 0; shift -= 3)
            if (digit_follows || shift == 0 || c >> shift) digits[count++] = static_cast<char>('0' + (c >> shift & 7));
        sink.put({digits, count});
    }
    sink.put(more || bytes.size() > limit ? "\"..." : "\"");
}

void print_argument(TextSink& sink, Task&, Fd value) { format_to(sink, "{}", value.value); }

void print_argument(TextSink& sink, Task&, DirFd value) {
    if (value.value == -100)
        sink.put("AT_FDCWD");
    else
        format_to(sink, "{}", value.value);
}

void print_argument(TextSink& sink, Task&, OpenFlags value) { print_open_flags(sink, value.value); }

void print_argument(TextSink& sink, Task&, Protection value) { print_protection(sink, value.value); }
void print_argument(TextSink& sink, Task&, MapFlags value) { print_map_flags(sink, value.value); }
void print_argument(TextSink& sink, Task&, CloneFlags value) { print_clone_flags(sink, value.value); }

void print_argument(TextSink& sink, Task&, Mode value) {
    char digits[13];
    size_t at = sizeof digits;
    uint32_t rest = value.value;
    do digits[--at] = static_cast<char>('0' + (rest & 7));
    while (rest >>= 3);
    digits[--at] = '0';
    sink.put({digits + at, sizeof digits - at});
}

void print_argument(TextSink& sink, Task&, Flags value) {
    if (value.value == 0)
        sink.put("0");
    else
        format_to(sink, "0x{x}", value.value);
}

void print_argument(TextSink& sink, Task&, SignalNumber value) {
    if (value.value >= 1 && value.value <= task::kSigMax)
        sink.put(task::signal_name(value.value));
    else
        format_to(sink, "{}", value.value);
}

void print_argument(TextSink& sink, Task& task, UserString value) {
    if (!value) return sink.put("NULL");
    auto text = value.load(task.space());
    if (text.is_error()) return print_address(sink, value.address);
    print_quoted(sink, text.value().view(), kPathLimit, false);
}

void print_argument(TextSink& sink, Task& task, UserBuffer value) {
    const Context* context = context_of(task);
    const int64_t length = context && value.address ? buffer_length(*context, value.address) : -1;
    if (length < 0) return print_address(sink, value.address);
    char bytes[kStringLimit];
    const size_t shown = static_cast<uint64_t>(length) < sizeof bytes ? static_cast<size_t>(length) : sizeof bytes;
    if (mm::copy_from_user(task.space(), bytes, value.address, shown).is_error())
        return print_address(sink, value.address);
    print_quoted(sink, {bytes, shown}, kStringLimit, static_cast<uint64_t>(length) > shown);
}

}  // namespace kvmsbx::syscalls
