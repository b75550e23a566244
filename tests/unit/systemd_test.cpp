// systemd as the manager of cgroups: names, the wire format, a conversation with a stand-in; and, where a systemd runs,
// the real one.
#include "oci/container/systemd.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "oci/container/cgroup.hpp"
#include "oci/container/small_file.hpp"

namespace kvmsbx::oci {
namespace {

std::string path_of(const std::string& cgroups_path) {
    const Outcome<SystemdUnit> unit = parse_systemd_path(cgroups_path, "id");
    return unit.is_ok() ? unit.value().cgroup_path() : "";
}

TEST(SystemdUnit, NamesAndPlaces) {
    EXPECT_EQ(path_of("system.slice:docker:abc"), "/system.slice/docker-abc.scope");
    EXPECT_EQ(path_of("user-1000.slice:libpod:x"), "/user.slice/user-1000.slice/libpod-x.scope");
    EXPECT_EQ(path_of("a-b-c.slice::x"), "/a.slice/a-b.slice/a-b-c.slice/x.scope");
    EXPECT_EQ(path_of("-.slice:p:x"), "/p-x.scope");
    if (geteuid() == 0) {
        EXPECT_EQ(path_of(":docker:abc"), "/system.slice/docker-abc.scope");
        EXPECT_EQ(path_of(""), "/system.slice/kvmsbx-id.scope");
    }
    for (const char* bad : {"/docker/abc", "a:b", "a.slice:b:", "a:b:c", "../x.slice:b:c", "a.slice:b:../c",
                            "a.slice:b/c:d", "-a.slice:b:c", "a--b.slice:b:c", ".slice:b:c", "a.slice:b c:d"})
        EXPECT_TRUE(parse_systemd_path(bad, "id").is_error()) << bad;
}

std::string describe(const std::vector<DbusProperty>& properties) {
    std::string text;
    for (const DbusProperty& property : properties) {
        const auto* number = std::get_if<uint64_t>(&property.value);
        text += property.name + "=" + (number ? std::to_string(*number) : "?") + " ";
    }
    return text;
}

TEST(SystemdLimits, SayTheSameAsTheFiles) {
    Resources resources;
    resources.memory.limit = 64 << 20;
    resources.memory.swap = 96 << 20;
    resources.cpu.shares = 512;
    resources.cpu.quota = 12345;
    resources.pids = 5;
    EXPECT_EQ(describe(systemd_limits(resources, 74, true)),
              "MemoryMax=67108864 MemorySwapMax=33554432 CPUWeight=20 CPUQuotaPerSecUSec=130000 TasksMax=74 ");
    EXPECT_EQ(describe(systemd_limits(resources, 74, false)),
              "MemoryLimit=67108864 CPUShares=512 CPUQuotaPerSecUSec=130000 TasksMax=74 ");
    Resources lifted;
    lifted.memory.limit = lifted.memory.swap = lifted.cpu.quota = lifted.pids = kUnlimited;
    lifted.cpu.period = 50000;
    EXPECT_EQ(describe(systemd_limits(lifted, 74, true)),
              "MemoryMax=18446744073709551615 MemorySwapMax=18446744073709551615 CPUQuotaPeriodUSec=50000 "
              "CPUQuotaPerSecUSec=18446744073709551615 TasksMax=18446744073709551615 ");
    EXPECT_EQ(describe(systemd_limits({}, 74, true)), "");
}

TEST(DbusMessage, IsAsTheSpecificationHasIt) {
    DbusWriter body;
    body.put_string("ab");
    body.put_properties({{"N", uint64_t{5}}});
    body.put_empty_structs();
    const std::string expected(
        "\2\0\0\0ab\0\0"     // string
        "\30\0\0\0\0\0\0\0"  // array of 24 bytes, padded to 8 from 12 to 16
        "\1\0\0\0N\0\1t\0\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0"
        "\0\0\0\0\0\0\0\0",
        8 + 8 + 24 + 8);
    EXPECT_EQ(body.bytes(), expected);
    const std::string call = encode_call({"/o", "i.f", "M", "s", std::string("\1\0\0\0x\0", 6)}, 7);
    EXPECT_EQ(message_length(call), call.size());
    EXPECT_EQ(message_length(std::string_view(call).substr(0, 10)), 0u);
    const std::optional<DbusMessage> message = decode_message(call);
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->member, "M");
    EXPECT_EQ(message->signature, "s");
    EXPECT_EQ(DbusReader(message->body).take_string(), "x");
    EXPECT_FALSE(message_length(std::string(16, 'B')).has_value());
    for (size_t at = 0; at < call.size(); ++at) {  // whatever is broken: no harm
        std::string broken = call;
        broken[at] = static_cast<char>(broken[at] ^ 0xff);
        (void)decode_message(broken).has_value();
    }
}

// Answers as systemd does, on a socket of its own.
class Manager {
  public:
    enum Mood { kFriendly, kJobFails, kRefuses, kHangsUp, kTalksRubbish };

    explicit Manager(Mood mood) : mood_(mood) {
        char name[] = "/tmp/kvmsbx-systemd-XXXXXX";
        folder_ = mkdtemp(name);
        listener_ = host::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        strcpy(address.sun_path, socket().c_str());
        EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(listen(listener_.get(), 1), 0);
        thread_ = std::thread([this] { serve(); });
    }
    ~Manager() {
        thread_.join();
        std::filesystem::remove_all(folder_);
    }
    std::string socket() const { return folder_ + "/private"; }
    std::vector<std::string> calls;

  private:
    void serve() {
        connection_ = host::Fd(accept(listener_.get(), nullptr, nullptr));
        std::string received;
        while (received.find("\r\n") == std::string::npos) receive(received);
        reply_text("OK 0123\r\n");
        while (received.find("BEGIN\r\n") == std::string::npos) receive(received);
        received.erase(0, received.find("BEGIN\r\n") + 7);
        for (;;) {
            const size_t length = message_length(received).value_or(0);
            if (length == 0 || received.size() < length) {
                if (!receive(received)) return;
                continue;
            }
            answer(*decode_message(received.substr(0, length)), received.substr(8, 4));
            received.erase(0, length);
            if (mood_ == kHangsUp && calls.back() == "StartTransientUnit") return connection_.reset();
        }
    }
    bool receive(std::string& to) const {
        char buffer[4096];
        const ssize_t n = recv(connection_.get(), buffer, sizeof buffer, 0);
        if (n > 0) to.append(buffer, static_cast<size_t>(n));
        return n > 0;
    }
    void reply_text(const std::string& text) const {
        EXPECT_EQ(send(connection_.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    }
    void answer(const DbusMessage& call, const std::string& serial) {
        calls.push_back(call.member);
        if (mood_ == kHangsUp && call.member == "StartTransientUnit") return;
        if (mood_ == kTalksRubbish) return reply_text("HTTP/1.1 400 Bad Request\r\n\r\n");
        if (call.member == "Subscribe" || call.member == "SetUnitProperties") return send_reply(2, serial, "", "", {});
        DbusWriter body;
        if (mood_ == kRefuses) {
            body.put_string("Unit is there already");
            return send_reply(3, serial, "org.freedesktop.systemd1.UnitExists", "s", body);
        }
        DbusWriter removed;  // may come before the reply
        removed.put_u32(9);
        removed.put_string("/job/9");
        removed.put_string("x.scope");
        removed.put_string(mood_ == kJobFails ? "failed" : "done");
        send_signal(removed);
        body.put_string("/job/9");
        send_reply(2, serial, "", "o", body);
    }
    void send_reply(uint8_t type, const std::string& serial, const std::string& error, const std::string& signature,
                    const DbusWriter& body) {
        DbusWriter fields;
        fields.put_u8(5);
        fields.put_signature("u");
        uint32_t number = 0;
        memcpy(&number, serial.data(), 4);
        fields.put_u32(number);
        put_field(fields, 4, "s", error);
        put_field(fields, 8, "g", signature);
        send_message(type, fields, body);
    }
    void send_signal(const DbusWriter& body) {
        DbusWriter fields;
        put_field(fields, 1, "o", "/org/freedesktop/systemd1");
        put_field(fields, 3, "s", "JobRemoved");
        put_field(fields, 8, "g", "uoss");
        send_message(4, fields, body);
    }
    static void put_field(DbusWriter& fields, uint8_t field, const char* type, const std::string& text) {
        if (text.empty()) return;
        fields.align(8);
        fields.put_u8(field);
        fields.put_signature(type);
        if (*type == 'g')
            fields.put_signature(text);
        else
            fields.put_string(text);
    }
    void send_message(uint8_t type, const DbusWriter& fields, const DbusWriter& body) {
        DbusWriter header;
        for (const uint8_t byte : {uint8_t{'l'}, type, uint8_t{0}, uint8_t{1}}) header.put_u8(byte);
        header.put_u32(static_cast<uint32_t>(body.bytes().size()));
        header.put_u32(++serial_);
        header.put_u32(static_cast<uint32_t>(fields.bytes().size()));
        std::string bytes = header.bytes() + fields.bytes();
        bytes.resize((bytes.size() + 7) / 8 * 8, '\0');
        reply_text(bytes + body.bytes());
    }

    const Mood mood_;
    std::string folder_;
    host::Fd listener_, connection_;
    uint32_t serial_ = 0;
    std::thread thread_;
};

std::string start_with(Manager::Mood mood, std::vector<std::string>* calls = nullptr) {
    Manager manager(mood);
    std::string message;
    {
        Outcome<SystemdClient> client = SystemdClient::connect_to(manager.socket());
        EXPECT_TRUE(client.is_ok()) << client.error().message;
        const Outcome<> started = client.value().start_scope({"s.slice", "x.scope"}, 1, {{"TasksMax", uint64_t{5}}});
        message = started.is_ok() ? "" : started.error().message;
        if (calls) {
            EXPECT_TRUE(client.value().set_properties("x.scope", {{"TasksMax", uint64_t{6}}}).is_ok());
            EXPECT_TRUE(client.value().stop("x.scope").is_ok());
            *calls = manager.calls;
        }
    }
    return message;
}

TEST(SystemdClient, StartsAndStops) {
    std::vector<std::string> calls;
    EXPECT_EQ(start_with(Manager::kFriendly, &calls), "");
    EXPECT_EQ(calls, (std::vector<std::string>{"Subscribe", "StartTransientUnit", "SetUnitProperties", "Subscribe",
                                               "StopUnit"}));
}

TEST(SystemdClient, SaysWhatSystemdSays) {
    EXPECT_EQ(start_with(Manager::kJobFails), "making unit x.scope: systemd's job ended with \"failed\"");
    EXPECT_EQ(start_with(Manager::kRefuses),
              "making unit x.scope: systemd says org.freedesktop.systemd1.UnitExists: Unit is there already");
    EXPECT_EQ(start_with(Manager::kHangsUp), "systemd has closed its socket");
    EXPECT_EQ(start_with(Manager::kTalksRubbish), "systemd sends what is no D-Bus message");
    EXPECT_EQ(SystemdClient::connect_to("/no/such/socket").error().message,
              "/no/such/socket: No such file or directory");
}

// A child that is put into a scope of the real systemd, says what it sees, and stays until it is killed.
TEST(RealSystemd, KeepsAContainersCgroup) {
    if (geteuid() != 0 || SystemdClient::connect().is_error()) GTEST_SKIP() << "no systemd here";
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const std::string id = "test" + std::to_string(getpid());
    Resources resources;
    resources.memory.limit = 64 << 20;
    resources.pids = 20;
    resources.cpu.quota = 50'000;
    resources.cpu.shares = 512;
    const CgroupOverhead overhead{64, 2};
    const pid_t child = fork();
    if (child == 0) {
        Reporter reporter;
        Outcome<Cgroup> cgroup =
            Cgroup::create({"system.slice:kvmsbx:" + id, id, &resources, overhead, CgroupManager::kSystemd}, reporter);
        std::string text;
        if (cgroup.is_error())
            text = "failure: " + cgroup.error().message;
        else
            for (const std::string& path : cgroup.value().paths()) text += path + "\n";
        if (write(pipe_ends[1], text.data(), text.size()) < 0) _exit(1);
        close(pipe_ends[1]);
        for (;;) pause();
    }
    close(pipe_ends[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = read(pipe_ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
    std::vector<std::string> paths;
    for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
        paths.push_back(text.substr(at, end - at));
    ASSERT_FALSE(paths.empty()) << text;
    const std::string unit = "kvmsbx-" + id + ".scope";
    EXPECT_TRUE(paths[0].ends_with("/system.slice/" + unit)) << paths[0];
    const Cgroup cgroup = Cgroup::from_paths(paths, unit);
    EXPECT_EQ(cgroup.processes(), std::vector<pid_t>{child});
    EXPECT_EQ(cgroup.usage().memory_limit, 64u << 20);
    EXPECT_EQ(cgroup.usage().pids_limit, 104u);
    Resources more;
    more.memory.limit = 128 << 20;
    more.cpu.quota = kUnlimited;
    const Outcome<> updated = cgroup.update(more, overhead);
    EXPECT_TRUE(updated.is_ok()) << updated.error().message;
    EXPECT_EQ(cgroup.usage().memory_limit, 128u << 20);
    if (system("systemctl daemon-reload") == 0) {  // systemd writes its own view of the limits then
        usleep(300'000);
        EXPECT_EQ(cgroup.usage().memory_limit, 128u << 20);
        EXPECT_EQ(cgroup.usage().pids_limit, 104u);
    }
    const Outcome<> removed = cgroup.remove(Leftovers::kKill);
    EXPECT_TRUE(removed.is_ok()) << removed.error().message;
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    for (const std::string& path : paths) EXPECT_FALSE(std::filesystem::exists(path)) << path;
    EXPECT_NE(system(("systemctl status " + unit + " >/dev/null 2>&1").c_str()), 0);
}

}  // namespace
}  // namespace kvmsbx::oci
