#include "guestkernel/task/uts.hpp"

#include <cstring>

#include "guestkernel/lib/format.hpp"

namespace kvmsbx::task {
namespace {

constexpr unsigned kMinorRelease = 1;  // of 6.1
UtsName name = {"Linux", "kvmsbx", "6.1.0-kvmsbx", "#1 SMP PREEMPT_DYNAMIC kvmsbx", "x86_64", "(none)"};

Result<> set(char (&field)[65], std::string_view value) {
    if (value.size() >= sizeof field) return Errno::kINVAL;
    memset(field, 0, sizeof field);
    memcpy(field, value.data(), value.size());
    return {};
}

}  // namespace

const UtsName& uts() { return name; }

void apply_personality(UtsName& shown, uint32_t personality) {
    constexpr uint32_t kDomainMask = 0xff, kLinux32 = 8, kUname26 = 0x20000;
    if ((personality & kDomainMask) == kLinux32) ignore(set(shown.machine, "i686"), "it fits");
    if (!(personality & kUname26)) return;
    // override_release: 2.6.60 stands for 4.0, 2.6.61 for 4.1 or 6.1; what follows the numbers stays.
    const std::string_view release = name.release;
    FixedText<sizeof shown.release> old;
    format_to(old, "2.6.{}{}", 60 + kMinorRelease, release.substr(release.find_first_not_of("0123456789.")));
    ignore(set(shown.release, old.view()), "it fits");
}

Result<> set_hostname(std::string_view value) { return set(name.nodename, value); }
Result<> set_domainname(std::string_view value) { return set(name.domainname, value); }

}  // namespace kvmsbx::task
