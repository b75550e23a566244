#include "oci/container/systemd.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "common/host/write_all.hpp"
#include "oci/container/cgroup_limits.hpp"

namespace kvmsbx::oci {
namespace {

constexpr auto kPatience = std::chrono::seconds(30);
constexpr uint64_t kInfinity = UINT64_MAX;

uint64_t number_or_infinity(int64_t value) { return value < 0 ? kInfinity : static_cast<uint64_t>(value); }

bool given(const std::optional<int64_t>& value) { return value.value_or(0) != 0; }

void add_memory(const MemoryResources& memory, bool unified, std::vector<DbusProperty>& out) {
    if (given(memory.limit)) out.push_back({unified ? "MemoryMax" : "MemoryLimit", number_or_infinity(*memory.limit)});
    if (!unified) return;
    if (given(memory.reservation)) out.push_back({"MemoryLow", number_or_infinity(*memory.reservation)});
    const int64_t swap = memory.swap.value_or(0), limit = memory.limit.value_or(0);
    if (swap < 0) out.push_back({"MemorySwapMax", kInfinity});
    if (swap > 0 && limit > 0 && swap >= limit) out.push_back({"MemorySwapMax", static_cast<uint64_t>(swap - limit)});
}

// systemd rounds a quota up to 10 ms of each second itself when it reads unit files, but not here.
void add_cpu(const CpuResources& cpu, bool unified, std::vector<DbusProperty>& out) {
    constexpr uint64_t kSecond = 1'000'000, kStep = 10'000, kStandardPeriod = 100'000;
    if (cpu.shares.value_or(0) != 0) {
        if (unified)
            out.push_back({"CPUWeight", cpu_weight_of_shares(*cpu.shares)});
        else
            out.push_back({"CPUShares", *cpu.shares});
    }
    const uint64_t period = cpu.period.value_or(0) != 0 ? *cpu.period : kStandardPeriod;
    if (cpu.period.value_or(0) != 0) out.push_back({"CPUQuotaPeriodUSec", period});
    if (!given(cpu.quota)) return;
    uint64_t each_second = kInfinity;
    if (*cpu.quota > 0) {
        const auto quota = static_cast<uint64_t>(std::min<int64_t>(*cpu.quota, INT64_MAX / 1'000'000));
        each_second = (quota * kSecond / period + kStep - 1) / kStep * kStep;
    }
    out.push_back({"CPUQuotaPerSecUSec", each_second});
}

std::string private_socket() {
    if (geteuid() == 0) return "/run/systemd/private";
    const char* folder = getenv("XDG_RUNTIME_DIR");
    return std::string(folder ? folder : "/run/user/" + std::to_string(geteuid())) + "/systemd/private";
}

// "uid 1000" in hexadecimal digits of its decimal text, as SASL's EXTERNAL wants it.
std::string hex_of(const std::string& text) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    for (const char c : text) {
        hex += kDigits[static_cast<unsigned char>(c) >> 4];
        hex += kDigits[c & 0xf];
    }
    return hex;
}

Failure lost() { return Failure{"systemd has closed its socket"}; }

}  // namespace

std::string SystemdUnit::cgroup_path() const {
    std::string path, prefix;
    const std::string stem = slice.substr(0, slice.size() - std::min(slice.size(), strlen(".slice")));
    // "a-b.slice" is in "a.slice"; "-.slice" is the root.
    for (size_t at = 0; stem != "-" && at < stem.size();) {
        const size_t dash = std::min(stem.find('-', at), stem.size());
        path += "/" + stem.substr(0, dash) + ".slice";
        at = dash + 1;
    }
    return path + "/" + name;
}

Outcome<SystemdUnit> parse_systemd_path(const std::string& cgroups_path, const std::string& id) {
    const std::string standard = geteuid() == 0 ? "system.slice" : "user.slice";
    if (cgroups_path.empty()) return SystemdUnit{standard, "kvmsbx-" + id + ".scope"};
    const size_t first = cgroups_path.find(':'), second = cgroups_path.find(':', first + 1);
    const auto wrong = [&](const char* problem) {
        return Failure{"linux.cgroupsPath: \"" + cgroups_path.substr(0, 200) + "\": " + problem +
                       "; with --systemd-cgroup it is SLICE:PREFIX:NAME (\"system.slice:kvmsbx:web\")"};
    };
    if (first == std::string::npos || second == std::string::npos) return wrong("not three parts");
    SystemdUnit unit{cgroups_path.substr(0, first), ""};
    const std::string prefix = cgroups_path.substr(first + 1, second - first - 1);
    const std::string name = cgroups_path.substr(second + 1);
    if (unit.slice.empty()) unit.slice = standard;
    const std::string stem = unit.slice.substr(0, unit.slice.rfind(".slice"));
    const bool dashes = stem != "-" && (stem.starts_with('-') || stem.ends_with('-') || stem.find("--") != stem.npos);
    if (!unit.slice.ends_with(".slice") || stem.empty() || dashes || unit.slice.find('/') != std::string::npos)
        return wrong("the first part is no slice");
    constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@";
    unit.name = (prefix.empty() ? "" : prefix + "-") + name + ".scope";
    if (name.empty() || unit.name.find_first_not_of(kAllowed) != std::string::npos || unit.name.size() > 255)
        return wrong("the other parts make no name of a unit");
    return unit;
}

std::vector<DbusProperty> systemd_limits(const Resources& resources, uint64_t pids, bool unified) {
    std::vector<DbusProperty> properties;
    add_memory(resources.memory, unified, properties);
    add_cpu(resources.cpu, unified, properties);
    if (given(resources.pids)) properties.push_back({"TasksMax", *resources.pids < 0 ? kInfinity : pids});
    return properties;
}

Outcome<SystemdClient> SystemdClient::connect() {
    const std::string socket = private_socket();
    Outcome<SystemdClient> client = connect_to(socket);
    if (client.is_ok()) return client;
    return Failure{"--systemd-cgroup: " + client.error().message +
                   "; is systemd running here? Without it use cgroupfs (Docker: native.cgroupdriver=cgroupfs, Podman: "
                   "--cgroup-manager=cgroupfs)"};
}

Outcome<SystemdClient> SystemdClient::connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return Failure{path + ": the name is too long for a socket"};
    memcpy(address.sun_path, path.c_str(), path.size());
    host::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // SAFETY: connect(2) takes each family's address as a sockaddr.
    if (!socket.is_open() || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return errno_failure(path, errno);
    SystemdClient client(std::move(socket));
    TRY(client.authenticate());
    return client;
}

Outcome<> SystemdClient::authenticate() {
    end_ = std::chrono::steady_clock::now() + kPatience;
    // BEGIN goes along: systemd 252 does not look at a message that comes in one read with it.
    TRY(send(std::string(1, '\0') + "AUTH EXTERNAL " + hex_of(std::to_string(geteuid())) + "\r\nBEGIN\r\n"));
    size_t line = 0;
    while ((line = received_.find("\r\n")) == std::string::npos) TRY(read_more());
    if (!received_.starts_with("OK ")) return Failure{"systemd refuses this user: " + received_.substr(0, line)};
    received_.erase(0, line + 2);
    return {};
}

Outcome<> SystemdClient::send(const std::string& bytes) {
    // The peer may be gone: no SIGPIPE.
    for (size_t at = 0; at < bytes.size();) {
        const ssize_t n = ::send(socket_.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return errno_failure("writing to systemd", errno);
        at += static_cast<size_t>(n);
    }
    return {};
}

Outcome<> SystemdClient::read_more() {
    using namespace std::chrono;
    pollfd polled{socket_.get(), POLLIN, 0};
    const auto left = ceil<milliseconds>(end_ - steady_clock::now());
    const int ready = poll(&polled, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready < 0 && errno == EINTR) return {};
    if (ready <= 0) return Failure{"systemd does not answer"};
    char buffer[8192];
    const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0) return errno == EINTR ? Outcome<>() : errno_failure("reading from systemd", errno);
    if (n == 0) return lost();
    received_.append(buffer, static_cast<size_t>(n));
    return {};
}

Outcome<DbusMessage> SystemdClient::next_message() {
    for (;;) {
        const std::optional<size_t> length = message_length(received_);
        if (!length) return Failure{"systemd sends what is no D-Bus message"};
        if (*length != 0 && received_.size() >= *length) {
            std::optional<DbusMessage> message = decode_message(std::string_view(received_).substr(0, *length));
            received_.erase(0, *length);
            if (!message) return Failure{"systemd sends what is no D-Bus message"};
            return *std::move(message);
        }
        TRY(read_more());
    }
}

Outcome<DbusMessage> SystemdClient::call(const std::string& what, const std::string& member,
                                         const std::string& signature, const DbusWriter& body) {
    end_ = std::chrono::steady_clock::now() + kPatience;
    const uint32_t serial = ++serial_;
    TRY(send(encode_call(
        {"/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", member, signature, body.bytes()}, serial)));
    for (;;) {
        DbusMessage message = TRY(next_message());
        if (message.type == DbusMessage::kSignal) signals_.push_back(std::move(message));
        if (message.reply_serial != serial) continue;
        if (message.type != DbusMessage::kError) return message;
        DbusReader reader(message.body);
        const std::string text = message.signature.starts_with('s') ? reader.take_string() : "";
        return Failure{what + ": systemd says " + message.error_name + (text.empty() ? "" : ": " + text)};
    }
}

Outcome<> SystemdClient::wait_for_job(const std::string& what, const std::string& job) {
    for (;;) {
        while (!signals_.empty()) {
            const DbusMessage message = std::move(signals_.front());
            signals_.erase(signals_.begin());
            if (message.member != "JobRemoved" || message.signature != "uoss") continue;
            DbusReader reader(message.body);
            reader.take_u32();
            if (reader.take_string() != job) continue;
            reader.take_string();  // the unit
            const std::string result = reader.take_string();
            return result == "done" ? Outcome<>() : Failure{what + ": systemd's job ended with \"" + result + "\""};
        }
        DbusMessage message = TRY(next_message());
        if (message.type == DbusMessage::kSignal) signals_.push_back(std::move(message));
    }
}

Outcome<> SystemdClient::start_scope(const SystemdUnit& unit, pid_t process, const std::vector<DbusProperty>& limits) {
    const std::string what = "making unit " + unit.name;
    TRY(call(what, "Subscribe", "", {}));
    std::vector<DbusProperty> properties{{"Description", std::string("kvmsbx container")},
                                         {"Slice", unit.slice},
                                         {"PIDs", std::vector<uint32_t>{static_cast<uint32_t>(process)}},
                                         {"Delegate", true},
                                         {"DefaultDependencies", false},
                                         {"CollectMode", std::string("inactive-or-failed")},
                                         {"MemoryAccounting", true},
                                         {"CPUAccounting", true},
                                         {"TasksAccounting", true}};
    properties.insert(properties.end(), limits.begin(), limits.end());
    DbusWriter body;
    body.put_string(unit.name);
    body.put_string("replace");
    body.put_properties(properties);
    body.put_empty_structs();
    const DbusMessage reply = TRY(call(what, "StartTransientUnit", "ssa(sv)a(sa(sv))", body));
    DbusReader reader(reply.body);
    return wait_for_job(what, reader.take_string());
}

Outcome<> SystemdClient::set_properties(const std::string& name, const std::vector<DbusProperty>& properties) {
    if (properties.empty()) return {};
    DbusWriter body;
    body.put_string(name);
    body.put_bool(true);  // not beyond the life of the unit
    body.put_properties(properties);
    TRY(call("limits of unit " + name, "SetUnitProperties", "sba(sv)", body));
    return {};
}

Outcome<> SystemdClient::stop(const std::string& name) {
    const std::string what = "stopping unit " + name;
    TRY(call(what, "Subscribe", "", {}));
    DbusWriter body;
    body.put_string(name);
    body.put_string("replace");
    Outcome<DbusMessage> reply = call(what, "StopUnit", "ss", body);
    if (reply.is_error())
        return reply.error().message.find("NoSuchUnit") == std::string::npos ? Outcome<>(reply.error()) : Outcome<>();
    DbusReader reader(reply.value().body);
    return wait_for_job(what, reader.take_string());
}

}  // namespace kvmsbx::oci
