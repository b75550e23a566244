#pragma once
// The end of a program that found a defect of its own. Each environment has its definition: the Sentry's prints the
// message with a backtrace and ends the sandbox (guestkernel/platform), a host program's prints it and aborts.
namespace kvmsbx {

[[noreturn]] void panic(const char* message);

}  // namespace kvmsbx

// The value of `x`, a macro, as a literal.
#define KVMSBX_STRING(x) KVMSBX_STRING2(x)
#define KVMSBX_STRING2(x) #x
