// The file system devpts: "ptmx" and a node per terminal (Linux: Documentation/filesystems/devpts.rst).
#include "guestkernel/fs/tty/pty_master.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/device.hpp"
#include "guestkernel/vfs/inode_file.hpp"

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kRootInode = 1, kPtmxInode = 2, kFirstInode = 3;
constexpr uint8_t kTypeDirectory = 4, kTypeChar = 2;  // DT_*
constexpr uint32_t kTtyMajor = 5, kTtyMinor = 0, kConsoleMinor = 1, kPtmxMinor = 2, kPtsMajor = 136,
                   kPtsCount = 1 << 20;
constexpr uint64_t kSecond = 1'000'000'000;

vfs::Timestamp timestamp(uint64_t ns) {
    return {static_cast<int64_t>(ns / kSecond), static_cast<uint32_t>(ns % kSecond)};
}

Result<uint32_t> parse_number(std::string_view text, unsigned base) {
    uint64_t value = 0;
    if (text.empty()) return Errno::kINVAL;
    for (char c : text) {
        if (c < '0' || static_cast<unsigned>(c - '0') >= base) return Errno::kINVAL;
        value = value * base + static_cast<unsigned>(c - '0');
        if (value > 0xffffffff) return Errno::kINVAL;
    }
    return static_cast<uint32_t>(value);
}

// A character device of the file system. Cached names hold inodes long after a pty is gone, so a node finds its
// terminal by number and serial; the terminal keeps the attributes.
class PtsNode final : public vfs::Inode {
  public:
    // terminal null: ptmx.
    PtsNode(RefPtr<PtsFileSystem> fs, const Terminal* terminal)
        : Inode(fs),
          instance(std::move(fs)),
          is_ptmx_(!terminal),
          device_(terminal ? terminal->device_number() : vfs::make_device(kTtyMajor, kPtmxMinor)),
          serial_(terminal ? terminal->serial : 0),
          ptmx_{.mode = instance->ptmx_mode(), .created = instance->created} {}
    // SAFETY: all character devices of this file system are PtsNodes.
    bool is_same(const vfs::Inode& other) const override {
        return other.type() == vfs::kModeChar && static_cast<const PtsNode&>(other).serial_ == serial_;
    }
    Result<vfs::Attributes> attributes() override {
        const Terminal::Node* node = find_node();
        if (!node) return Errno::kIO;
        vfs::Attributes attributes;
        attributes.rdev = device_;
        attributes.ino = is_ptmx_ ? kPtmxInode : kFirstInode + vfs::minor_of(device_);
        attributes.mode = vfs::kModeChar | node->mode;
        attributes.nlink = 1;
        attributes.uid = node->uid;
        attributes.gid = node->gid;
        attributes.block_size = 1024;
        attributes.atime = attributes.mtime = attributes.ctime = attributes.btime = timestamp(node->created);
        return attributes;
    }
    Result<> set_attributes(const vfs::AttributeChange& change) override {
        Terminal::Node* node = find_node();
        if (!node) return Errno::kIO;
        if (change.valid & vfs::AttributeChange::kMode) node->mode = change.mode & 07777;
        if (change.valid & vfs::AttributeChange::kUid) node->uid = change.uid;
        if (change.valid & vfs::AttributeChange::kGid) node->gid = change.gid;
        return {};
    }
    uint32_t type() const override { return vfs::kModeChar; }
    Result<RefPtr<vfs::File>> open(const vfs::Path&, uint32_t) override {
        return Errno::kNXIO;
    }  // the VFS opens devices by number
    // Null: it is gone, or this is ptmx.
    Terminal* terminal() const {
        Terminal* found = is_ptmx_ ? nullptr : instance->at(vfs::minor_of(device_));
        return found && found->serial == serial_ ? found : nullptr;
    }

    const RefPtr<PtsFileSystem> instance;

  private:
    Terminal::Node* find_node() {
        if (is_ptmx_) return &ptmx_;
        Terminal* found = terminal();
        return found ? &found->node : nullptr;
    }
    const bool is_ptmx_;
    const uint64_t device_, serial_;
    Terminal::Node ptmx_;
};

class PtsRoot final : public vfs::Inode {
  public:
    explicit PtsRoot(RefPtr<PtsFileSystem> fs) : Inode(fs), instance_(std::move(fs)) {}
    Result<vfs::Attributes> attributes() override {
        vfs::Attributes attributes;
        attributes.ino = kRootInode;
        attributes.mode = vfs::kModeDirectory | 0755;
        attributes.nlink = 2;
        attributes.block_size = 1024;
        attributes.atime = attributes.mtime = attributes.ctime = attributes.btime = timestamp(instance_->created);
        return attributes;
    }
    Result<> set_attributes(const vfs::AttributeChange&) override { return Errno::kPERM; }
    uint32_t type() const override { return vfs::kModeDirectory; }
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override;
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override {
        return vfs::open_directory(path, flags);
    }

  private:
    RefPtr<PtsFileSystem> instance_;
};

Result<RefPtr<vfs::Inode>> PtsRoot::lookup(std::string_view name) {
    if (name == "ptmx") return RefPtr<vfs::Inode>(TRY(make_ref<PtsNode>(instance_, nullptr)));
    const auto number = parse_number(name, 10);
    if (number.is_error() || (name.size() > 1 && name.front() == '0')) return Errno::kNOENT;
    RefPtr<Terminal> terminal = instance_->find(number.value());
    if (!terminal) return Errno::kNOENT;
    return RefPtr<vfs::Inode>(TRY(make_ref<PtsNode>(instance_, terminal.get())));
}

// Cookies: 1 ".", 2 "..", 3 "ptmx", 4 + N the node N.
Result<> PtsRoot::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    if (cookie < 1 && !visitor.visit({".", kRootInode, kTypeDirectory, 1})) return {};
    if (cookie < 2 && !visitor.visit({"..", kRootInode, kTypeDirectory, 2})) return {};
    if (cookie < 3 && !visitor.visit({"ptmx", kPtmxInode, kTypeChar, 3})) return {};
    const uint32_t start = cookie > 3 ? static_cast<uint32_t>(cookie - 3) : 0;
    for (int index = instance_->next(start); index >= 0; index = instance_->next(static_cast<uint32_t>(index) + 1)) {
        FixedText<16> name;
        format_to(name, "{}", index);
        const auto number = static_cast<uint64_t>(index);
        if (!visitor.visit({name.view(), kFirstInode + number, kTypeChar, 4 + number})) return {};
    }
    return {};
}

PtsFileSystem* first_instance;  // what a ptmx node outside any devpts means; holds a reference for ever
bool first_is_mounted;

Result<RefPtr<vfs::Inode>> make_devpts(const vfs::MountOptions& options) {
    auto instance = first_is_mounted ? TRY(make_ref<PtsFileSystem>()) : TRY(first_devpts());
    TRY(instance->configure(options.data));
    if (!first_is_mounted) instance->give_modes();
    first_is_mounted = true;
    return RefPtr<vfs::Inode>(TRY(make_ref<PtsRoot>(std::move(instance))));
}

// SAFETY: the type of file system tells the type of its character-device inodes.
PtsNode* pts_node(const vfs::Path& path) {
    return path.inode().fs().type_name() == "devpts" && path.inode().type() == vfs::kModeChar
               ? static_cast<PtsNode*>(&path.inode())
               : nullptr;
}

Result<RefPtr<vfs::File>> open_pts(const vfs::Path& path, uint32_t, uint32_t flags) {
    PtsNode* node = pts_node(path);
    if (!node || !node->terminal()) return Errno::kIO;
    return TerminalFile::open(RefPtr<Terminal>(*node->terminal()), path, flags, flags & vfs::kONoctty);
}

Result<RefPtr<vfs::File>> open_aux(const vfs::Path& path, uint32_t minor, uint32_t flags) {
    switch (minor) {
        case kTtyMinor: {
            Terminal* terminal = current_terminal();
            if (!terminal) return Errno::kNXIO;
            return TerminalFile::open(RefPtr<Terminal>(*terminal), path, flags, true);
        }
        case kConsoleMinor: {
            Terminal* terminal = console_terminal();
            if (!terminal) return Errno::kNXIO;
            return TerminalFile::open(RefPtr<Terminal>(*terminal), path, flags, true);
        }
        default: {
            PtsNode* node = pts_node(path);
            PtsFileSystem* instance = node ? node->instance.get() : first_instance;
            if (!instance || !first_is_mounted) return Errno::kNODEV;
            return open_pty_master(*instance, path, flags);
        }
    }
}

}  // namespace

Result<RefPtr<PtsFileSystem>> first_devpts() {
    if (!first_instance) first_instance = TRY(make_ref<PtsFileSystem>()).leak();
    return RefPtr<PtsFileSystem>(first_instance);
}

Result<> PtsFileSystem::configure(std::string_view data) {
    std::string_view value;
    if (vfs::mount_option(data, "mode", value)) mode_ = TRY(parse_number(value, 8)) & 07777;
    if (vfs::mount_option(data, "ptmxmode", value)) ptmx_mode_ = TRY(parse_number(value, 8)) & 07777;
    if (vfs::mount_option(data, "max", value)) maximum_ = std::min(TRY(parse_number(value, 10)), kMaximum);
    if (vfs::mount_option(data, "uid", value)) uid_ = TRY(parse_number(value, 10)), has_uid_ = true;
    if (vfs::mount_option(data, "gid", value)) gid_ = TRY(parse_number(value, 10)), has_gid_ = true;
    return {};
}

Result<String> PtsFileSystem::options() {
    FixedText<128> text;
    const auto octal = [&](uint32_t mode) {
        const char digits[] = {static_cast<char>('0' + (mode >> 6 & 7)), static_cast<char>('0' + (mode >> 3 & 7)),
                               static_cast<char>('0' + (mode & 7))};
        text.put({digits, 3});
    };
    if (has_uid_) format_to(text, "uid={},", uid_);
    if (has_gid_) format_to(text, "gid={},", gid_);
    text.put("mode=");
    octal(mode_);
    text.put(",ptmxmode=");
    octal(ptmx_mode_);
    return String::create(text.view());
}

Result<uint32_t> PtsFileSystem::free_index() {
    uint32_t index = 0;
    while (index < slots_.size() && slots_[index]) ++index;
    if (index >= maximum_) return Errno::kNOSPC;
    if (index == slots_.size()) TRY(slots_.push_back(nullptr));
    return index;
}

Result<RefPtr<PtyTerminal>> PtsFileSystem::create_pty() {
    const uint32_t index = TRY(free_index());
    auto terminal = TRY(make_ref<PtyTerminal>(RefPtr<PtsFileSystem>(*this), index));
    TRY(terminal->create());
    const auth::Credentials& creator = task::current().credentials();
    terminal->node = {.mode = mode_,
                      .uid = has_uid_ ? uid_ : creator.fsuid,
                      .gid = has_gid_ ? gid_ : creator.fsgid,
                      .created = sched::realtime_now()};
    slots_[index] = terminal.get();
    return terminal;
}

bool PtsFileSystem::visible(uint32_t index) const {
    return index < slots_.size() && slots_[index] && slots_[index]->has_node();
}

RefPtr<Terminal> PtsFileSystem::find(uint32_t index) const {
    return visible(index) ? RefPtr<Terminal>(*slots_[index]) : RefPtr<Terminal>();
}

int PtsFileSystem::next(uint32_t from) const {
    for (; from < slots_.size(); ++from)
        if (visible(from)) return static_cast<int>(from);
    return -1;
}

void PtsFileSystem::give_mode(Terminal& terminal) const {
    terminal.node.mode = mode_;
    terminal.node.gid = gid_;
}

void PtsFileSystem::give_modes() const {
    for (Terminal* terminal : slots_)
        if (terminal) give_mode(*terminal);
}

Result<> register_terminals() {
    TRY(vfs::register_file_system("devpts", make_devpts, "newinstance,mode,ptmxmode,max,uid,gid"));
    TRY(vfs::register_char_device(kTtyMajor, kTtyMinor, kPtmxMinor - kTtyMinor + 1, open_aux));
    return vfs::register_char_device(kPtsMajor, 0, kPtsCount, open_pts);
}

}  // namespace kvmsbx::fs
