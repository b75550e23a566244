#include "oci/container/namespaces.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "oci/capabilities.hpp"

namespace kvmsbx::oci {
namespace {

Failure wrong_namespaces(const Bundle& bundle, const std::string& problem) {
    const size_t line = find_line(bundle.config_text, "linux.namespaces");
    return Failure{bundle.config_path + ": line " + std::to_string(line) + ": linux.namespaces: " + problem};
}

// An engine's file names the namespaces that it wants new; without the entry it means the host's.
Outcome<> check_own(const Bundle& bundle, NamespaceType type, const char* name, const char* option) {
    const NamespaceSpec* entry = bundle.spec.find_namespace(type);
    if (entry && entry->path.empty()) return {};
    if (!entry && bundle.spec.namespaces.empty()) return {};
    const std::string whose = entry ? "another container's " + std::string(name) + " namespace (" + entry->path + ")"
                                    : "the host's " + std::string(name) + " namespace";
    return wrong_namespaces(bundle, whose +
                                        " cannot be had: a sandbox has a kernel of its own, whose processes others "
                                        "do not share; run without " +
                                        option);
}

void bring_loopback_up() {
    const host::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    if (!socket.is_open() || ioctl(socket.get(), SIOCGIFFLAGS, &request) < 0) return;
    request.ifr_flags |= IFF_UP;
    ioctl(socket.get(), SIOCSIFFLAGS, &request);
}

Outcome<> make_network(Reporter& reporter) {
    if (unshare(CLONE_NEWNET) == 0) {
        bring_loopback_up();
        return {};
    }
    if (errno != EPERM) return errno_failure("cannot make a network namespace", errno);
    reporter.debug("no network namespace of the container's own: the caller may not make one");
    return {};
}

Outcome<> join_network(const Bundle& bundle, const std::string& path) {
    const host::Fd network(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!network.is_open()) return wrong_namespaces(bundle, path + ": " + std::strerror(errno));
    if (setns(network.get(), CLONE_NEWNET) == 0) return {};
    return wrong_namespaces(bundle, "joining " + path + ": " + std::strerror(errno));
}

}  // namespace

Outcome<> check_namespaces(const Bundle& bundle) {
    TRY(check_own(bundle, NamespaceType::kPid, "PID", "--pid"));
    return check_own(bundle, NamespaceType::kIpc, "IPC", "--ipc");
}

Outcome<host::Fd> enter_network(const Bundle& bundle, Reporter& reporter) {
    const NamespaceSpec* entry = bundle.spec.find_namespace(NamespaceType::kNetwork);
    if (!entry) return host::Fd();
    host::Fd before(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    if (entry->path.empty())
        TRY(make_network(reporter));
    else
        TRY(join_network(bundle, entry->path));
    return before;
}

}  // namespace kvmsbx::oci
