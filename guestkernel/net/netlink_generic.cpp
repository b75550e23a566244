#include "guestkernel/net/netlink_generic.hpp"

#include "guestkernel/net/taskstats.hpp"

namespace kvmsbx::net {
namespace {

struct GenericHeader {  // struct genlmsghdr
    uint8_t command, version;
    uint16_t reserved;
};

// What a family can be asked: its GENL_ flags, and GENL_ADMIN_PERM.
constexpr uint32_t kAdmin = 1, kDo = 2, kDump = 4, kHasPolicy = 8;
struct Command {
    uint8_t number;
    uint32_t flags;
};

enum CtrlCommand : uint8_t { kNewFamily = 1, kGetFamily = 3 };
enum CtrlAttribute : uint16_t {
    kFamilyId = 1,
    kFamilyName = 2,
    kFamilyVersion = 3,
    kFamilyHeaderSize = 4,
    kFamilyMaxAttribute = 5,
    kFamilyCommands = 6,
    kFamilyGroups = 7,
    kCommandId = 1,
    kCommandFlags = 2,
    kGroupName = 1,
    kGroupId = 2,
};
enum TaskstatsCommand : uint8_t { kTaskstatsGet = 1, kTaskstatsNew = 2 };
enum TaskstatsAttribute : uint16_t {
    kAskPid = 1,
    kAskTgid = 2,
    kAskRegister = 3,
    kAskDeregister = 4,
    kTellPid = 1,
    kTellTgid = 2,
    kTellStatistics = 3,
    kTellAboutPid = 4,
    kTellAboutTgid = 5,
};

struct Family {
    std::string_view name;
    uint16_t id;
    uint8_t version;
    uint32_t max_attribute;
    Command command;
    std::string_view group;  // multicast; its number is `id`. Empty: none
};
constexpr uint16_t kController = 16, kTaskstats = 17;
constexpr Family kFamilies[] = {
    {"nlctrl", kController, 2, 10, {kGetFamily, kDo | kDump | kHasPolicy}, "notify"},
    {"TASKSTATS", kTaskstats, 1, 4, {kTaskstatsGet, kAdmin | kDo | kHasPolicy}, ""},
};

const Family* find_family(uint16_t id) {
    for (const Family& family : kFamilies)
        if (family.id == id) return &family;
    return nullptr;
}

class GenericAnswer final : public NetlinkAnswer {
  public:
    using NetlinkAnswer::NetlinkAnswer;

  private:
    Result<> serve() override;
    Result<> get_family();
    Result<> get_statistics();
    void begin_generic(const Family& family, uint8_t command) {
        begin(family.id);
        writer_.put(GenericHeader{command, family.version, 0});
    }
    void put_family(const Family& family);
    std::span<const std::byte> attribute(uint16_t type) const {
        return request_.attribute(sizeof(GenericHeader), type);
    }
};

Result<> GenericAnswer::serve() {
    const Family* const family = find_family(request_.header.type);
    if (!family) return Errno::kNOENT;
    GenericHeader header;
    if (!request_.load(header)) return Errno::kINVAL;
    const Command& command = family->command;
    if (header.command != command.number) return Errno::kOPNOTSUPP;
    if ((command.flags & kAdmin) && !asker_.privileged) return Errno::kPERM;
    if ((request_.header.flags & kNlmDump) == kNlmDump) {
        if (!(command.flags & kDump)) return Errno::kOPNOTSUPP;
        begin_dump();
        for (const Family& each : kFamilies) put_family(each);
        end_dump();
        return {};
    }
    return family->id == kController ? get_family() : get_statistics();
}

// ---- the controller

Result<> GenericAnswer::get_family() {
    const auto id = attribute(kFamilyId), name = attribute(kFamilyName);
    const Family* found = nullptr;
    if (!id.empty()) {
        uint16_t number;
        if (id.size() < sizeof number) return Errno::kRANGE;
        __builtin_memcpy(&number, id.data(), sizeof number);
        found = find_family(number);
    } else if (!name.empty()) {
        // SAFETY: bytes as characters.
        const std::string_view padded(reinterpret_cast<const char*>(name.data()), name.size());
        const std::string_view wanted = padded.substr(0, padded.find('\0'));
        for (const Family& family : kFamilies)
            if (family.name == wanted) found = &family;
    } else {
        return Errno::kINVAL;
    }
    if (!found) return Errno::kNOENT;
    put_family(*found);
    send();
    return {};
}

void GenericAnswer::put_family(const Family& family) {
    constexpr uint16_t kFirst = 1;  // of a list
    begin_generic(kFamilies[0], kNewFamily);
    writer_.text_attribute(kFamilyName, family.name);
    writer_.attribute(kFamilyId, family.id);
    writer_.attribute(kFamilyVersion, uint32_t{family.version});
    writer_.attribute(kFamilyHeaderSize, uint32_t{0});
    writer_.attribute(kFamilyMaxAttribute, family.max_attribute);
    const NetlinkWriter::Nest commands = writer_.begin_nest(kFamilyCommands), command = writer_.begin_nest(kFirst);
    writer_.attribute(kCommandId, uint32_t{family.command.number});
    writer_.attribute(kCommandFlags, family.command.flags);
    writer_.end_nest(command);
    writer_.end_nest(commands);
    if (family.group.empty()) return;
    const NetlinkWriter::Nest groups = writer_.begin_nest(kFamilyGroups), group = writer_.begin_nest(kFirst);
    writer_.attribute(kGroupId, uint32_t{family.id});
    writer_.text_attribute(kGroupName, family.group);
    writer_.end_nest(group);
    writer_.end_nest(groups);
}

// ---- TASKSTATS

// Of one that is there. To be told of every task that ends (a CPU mask) is not possible: EOPNOTSUPP.
Result<> GenericAnswer::get_statistics() {
    if (!attribute(kAskRegister).empty() || !attribute(kAskDeregister).empty()) return Errno::kOPNOTSUPP;
    const bool thread = !attribute(kAskPid).empty();
    const auto given = attribute(thread ? kAskPid : kAskTgid);
    if (given.empty()) return Errno::kINVAL;
    int32_t number;
    if (given.size() < sizeof number) return Errno::kRANGE;
    __builtin_memcpy(&number, given.data(), sizeof number);
    const Taskstats found = TRY(thread ? thread_statistics(number) : group_statistics(number));
    begin_generic(*find_family(kTaskstats), kTaskstatsNew);
    const NetlinkWriter::Nest about = writer_.begin_nest(thread ? kTellAboutPid : kTellAboutTgid);
    writer_.attribute(thread ? kTellPid : kTellTgid, number);
    writer_.attribute(kTellStatistics, found);
    writer_.end_nest(about);
    send();
    return {};
}

}  // namespace

void answer_generic_requests(std::span<const std::byte> bytes, const NetlinkAsker& asker, NetlinkSink& sink) {
    answer_requests<GenericAnswer>(bytes, asker, sink);
}

}  // namespace kvmsbx::net
