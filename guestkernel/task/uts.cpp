#include "guestkernel/task/uts.hpp"

#include <cstring>

namespace kvmsbx::task {
namespace {

UtsName name = {"Linux", "kvmsbx", "6.1.0-kvmsbx", "#1 SMP PREEMPT_DYNAMIC kvmsbx", "x86_64", "(none)"};

Result<> set(char (&field)[65], std::string_view value) {
    if (value.size() >= sizeof field) return Errno::kINVAL;
    memset(field, 0, sizeof field);
    memcpy(field, value.data(), value.size());
    return {};
}

}  // namespace

const UtsName& uts() { return name; }
Result<> set_hostname(std::string_view value) { return set(name.nodename, value); }
Result<> set_domainname(std::string_view value) { return set(name.domainname, value); }

}  // namespace kvmsbx::task
