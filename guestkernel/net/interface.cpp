#include "guestkernel/net/interface.hpp"

#include <string_view>

#include "guestkernel/net/inet_address.hpp"

namespace kvmsbx::net {
namespace {

constexpr uint32_t kSiocgifname = 0x8910, kSiocgifconf = 0x8912, kSiocgifflags = 0x8913, kSiocsifflags = 0x8914,
                   kSiocgifaddr = 0x8915, kSiocgifdstaddr = 0x8917, kSiocgifbrdaddr = 0x8919, kSiocgifnetmask = 0x891b,
                   kSiocgifmetric = 0x891d, kSiocgifmtu = 0x8921, kSiocgifhwaddr = 0x8927, kSiocgifindex = 0x8933,
                   kSiocgiftxqlen = 0x8942, kSiocgifmap = 0x8970;
constexpr uint16_t kArphrdLoopback = 772;

struct IfRequest {  // struct ifreq
    char name[16];
    std::byte value[24];
};
static_assert(sizeof(IfRequest) == 40);

template <typename T>
void set_value(IfRequest& request, const T& value) {
    __builtin_memset(request.value, 0, sizeof request.value);
    __builtin_memcpy(request.value, &value, sizeof value);
}

void set_address(IfRequest& request, uint32_t address) {
    const Address shown = format_endpoint({InetAddress::v4(address), 0}, kAfInet);
    __builtin_memcpy(request.value, shown.bytes, 16);
}

bool names_loopback(IfRequest& request) {
    request.name[sizeof request.name - 1] = '\0';
    const std::string_view name(request.name);
    return name.substr(0, name.find(':')) == "lo";
}

// SIOCGIFCONF: struct ifconf has a length in bytes and the address of an array of struct ifreq.
Result<int64_t> list_addresses(mm::AddressSpace& space, uint64_t argument) {
    struct IfConf {
        int32_t length, pad;
        uint64_t buffer;
    };
    IfConf conf = TRY(mm::UserIn<IfConf>{argument}.load(space));
    if (conf.buffer != 0) {
        const bool fits = conf.length >= static_cast<int32_t>(sizeof(IfRequest));
        conf.length = fits ? sizeof(IfRequest) : 0;
        IfRequest entry{"lo", {}};
        set_address(entry, kLoopbackV4);
        if (fits) TRY(mm::UserOut<IfRequest>{conf.buffer}.store(space, entry));
    } else {
        conf.length = sizeof(IfRequest);
    }
    TRY(mm::UserOut<int32_t>{argument}.store(space, conf.length));
    return int64_t{0};
}

Result<> answer(uint32_t what, IfRequest& request) {
    switch (what) {
        case kSiocgifflags: set_value(request, static_cast<uint16_t>(kIffUp | kIffLoopback | kIffRunning)); return {};
        case kSiocgifaddr:
        case kSiocgifdstaddr: set_address(request, kLoopbackV4); return {};
        case kSiocgifbrdaddr: set_address(request, 0); return {};
        case kSiocgifnetmask: set_address(request, 0xff000000); return {};
        case kSiocgifmetric: set_value(request, int32_t{0}); return {};
        case kSiocgifmtu: set_value(request, static_cast<int32_t>(kLoopbackMtu)); return {};
        case kSiocgifhwaddr: set_value(request, kArphrdLoopback); return {};
        case kSiocgifindex: set_value(request, static_cast<int32_t>(kLoopbackIndex)); return {};
        case kSiocgiftxqlen: set_value(request, int32_t{1000}); return {};
        case kSiocgifmap: set_value(request, uint64_t{0}); return {};
        default: return Errno::kNOTTY;
    }
}

bool is_setter(uint32_t request) {
    switch (request) {
        case kSiocsifflags:
        case 0x8916:  // SIOCSIFADDR
        case 0x8918:  // SIOCSIFDSTADDR
        case 0x891a:  // SIOCSIFBRDADDR
        case 0x891c:  // SIOCSIFNETMASK
        case 0x891e:  // SIOCSIFMETRIC
        case 0x8922:  // SIOCSIFMTU
        case 0x8923:  // SIOCSIFNAME
        case 0x8924:  // SIOCSIFHWADDR
        case 0x8943:  // SIOCSIFTXQLEN
        case 0x890b:  // SIOCADDRT
        case 0x890c:  // SIOCDELRT
        case 0x8953:  // SIOCDARP
        case 0x8955:  // SIOCSARP
            return true;
        default: return false;
    }
}

}  // namespace

Result<int64_t> interface_ioctl(mm::AddressSpace& space, uint32_t request, uint64_t argument) {
    if (request == kSiocgifconf) return list_addresses(space, argument);
    if (is_setter(request))
        return task::current().credentials().has(auth::Capability::kNetAdmin) ? Errno::kOPNOTSUPP : Errno::kPERM;
    if ((request & 0xff00) != 0x8900) return Errno::kNOTTY;
    IfRequest entry = TRY(mm::UserIn<IfRequest>{argument}.load(space));
    if (request == kSiocgifname) {
        int32_t index;
        __builtin_memcpy(&index, entry.value, sizeof index);
        if (index != static_cast<int32_t>(kLoopbackIndex)) return Errno::kNODEV;
        __builtin_memset(entry.name, 0, sizeof entry.name);
        __builtin_memcpy(entry.name, "lo", 2);
    } else {
        IfRequest probe = entry;
        TRY(answer(request, probe));  // an unknown request is ENOTTY whatever the name is
        if (!names_loopback(entry)) return Errno::kNODEV;
        TRY(answer(request, entry));
    }
    TRY(mm::UserOut<IfRequest>{argument}.store(space, entry));
    return int64_t{0};
}

}  // namespace kvmsbx::net
