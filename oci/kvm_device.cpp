#include "oci/kvm_device.hpp"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <string>

namespace kvmsbx::oci {
namespace {

Failure open_failure(int error) {
    const Failure failure = errno_failure("cannot open /dev/kvm", error);
    switch (error) {
        case ENOENT:
            return {failure.message +
                    "; load the KVM module (modprobe kvm_intel or kvm_amd), switch virtualisation on in the firmware "
                    "or the cloud VM, or pass the device into this container (--device /dev/kvm)"};
        case EACCES:
        case EPERM:
            return {failure.message +
                    "; add your user to the group kvm (usermod -aG kvm USER, then log in again) or run as root"};
        case ENODEV:
        case ENXIO: return {failure.message + "; no KVM module serves the device: modprobe kvm_intel or kvm_amd"};
        default: return {failure.message + "; `kvmsbx doctor` checks the host"};
    }
}

}  // namespace

Outcome<host::Fd> open_kvm() {
    host::Fd fd(open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!fd.is_open()) return open_failure(errno);
    const int version = ioctl(fd.get(), KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION) {
        return Failure{"/dev/kvm speaks KVM API version " + std::to_string(version) + ", not " +
                       std::to_string(KVM_API_VERSION) + "; is it the real device?"};
    }
    return fd;
}

}  // namespace kvmsbx::oci
