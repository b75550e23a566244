#pragma once
// VERIFY stays on in release: a false condition panics the Sentry. DCHECK is for debug builds.
#include "common/base/panic.hpp"

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
