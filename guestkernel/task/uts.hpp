#pragma once
// What uname(2) tells, and procfs's version, hostname and so on.
#include <string_view>

#include "common/base/result.hpp"

namespace kvmsbx::task {

struct UtsName {  // struct new_utsname; NUL-terminated, zero-filled
    char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};
static_assert(sizeof(UtsName) == 390);

const UtsName& uts();
// What uname(2) tells a process of this personality(2): PER_LINUX32 is another machine, UNAME26 an old release.
void apply_personality(UtsName& name, uint32_t personality);
// EINVAL beyond 64 bytes.
Result<> set_hostname(std::string_view name);
Result<> set_domainname(std::string_view name);

}  // namespace kvmsbx::task
