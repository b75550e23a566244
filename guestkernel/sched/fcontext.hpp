#pragma once
// Boost.Context's fcontext, declared here: its own header pulls in exceptions. In the guest it is ours
// (platform/freestanding/context.cpp), on the host the library's.
#include <cstddef>

namespace kvmsbx::sched {

using Context = void*;
struct Transfer {
    Context context;  // of the one that switched to us
    void* data;
};

extern "C" {
Transfer jump_fcontext(Context to, void* data);
Context make_fcontext(void* stack_top, size_t size, void (*function)(Transfer));
}

}  // namespace kvmsbx::sched
