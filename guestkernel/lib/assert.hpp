#pragma once
// VERIFY stays on in release: a false condition panics the Sentry. DCHECK is for debug builds.
namespace kvmsbx {

// Prints the message with a backtrace and ends the sandbox (host builds: abort).
[[noreturn]] void panic(const char* message);

}  // namespace kvmsbx

#define KVMSBX_STRING2(x) #x
#define KVMSBX_STRING(x) KVMSBX_STRING2(x)
#define VERIFY(condition)                                                          \
    do {                                                                           \
        if (!(condition)) [[unlikely]]                                             \
            ::kvmsbx::panic(__FILE__ ":" KVMSBX_STRING(__LINE__) ": " #condition); \
    } while (0)
#ifdef KVMSBX_DCHECK
#define DCHECK(condition) VERIFY(condition)
#else
#define DCHECK(condition) static_cast<void>(0)
#endif
