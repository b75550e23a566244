// Host programs only; the Sentry and its host library bring their own.
#include "common/base/panic.hpp"

#include <cstdio>
#include <cstdlib>

namespace kvmsbx {

void panic(const char* message) {
    fprintf(stderr, "kvmsbx: defect: %s\n", message);
    abort();
}

}  // namespace kvmsbx
