#include "guestkernel/fs/proc/nodes.hpp"

#include <algorithm>

namespace kvmsbx::fs {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr size_t kMaxStore = 4096;

class TextFile final : public vfs::InodeFile {
  public:
    TextFile(RefPtr<TextNode> node, const vfs::Path& path, uint32_t flags)
        : InodeFile(path, flags), node_(std::move(node)) {}
    Result<size_t> read_at(mm::IoBuffer& to, uint64_t offset) override {
        sched::MutexGuard guard(text_lock_);
        if (offset == 0 || !made_) {
            StringText text;
            TRY(node_->generate(text));
            text_ = TRY(text.take());
            made_ = true;
        }
        if (offset >= text_.size()) return size_t{0};
        return to.put(text_.view().data() + offset, std::min<size_t>(text_.size() - offset, to.remaining()));
    }
    Result<size_t> write_at(mm::IoBuffer& from, uint64_t) override {
        char text[kMaxStore];
        const size_t size = TRY(from.take(text, sizeof text));
        TRY(node_->store({text, size}));
        return size;
    }

  private:
    Result<size_t> append(mm::IoBuffer& from, uint64_t& end) override {
        const size_t size = TRY(write_at(from, end));
        end += size;
        return size;
    }
    RefPtr<TextNode> node_;
    String text_;
    bool made_ = false;
    sched::Mutex text_lock_;
};

class StaticText final : public TextNode {
  public:
    StaticText(RefPtr<vfs::FileSystem> fs, uint64_t ino, const StaticEntry& entry, unsigned instance)
        : TextNode(std::move(fs), ino, entry.permissions), entry_(entry), instance_(instance) {}
    Result<> generate(TextSink& sink) override {
        if (entry_.generate) return entry_.generate(sink);
        if (entry_.generate_for) return entry_.generate_for(instance_, sink);
        sink.put(entry_.text);
        return {};
    }
    Result<> store(std::string_view text) override { return entry_.store ? entry_.store(text) : Errno::kINVAL; }

  private:
    const StaticEntry& entry_;
    const unsigned instance_;
};

class StaticDirectory final : public SyntheticNode {
  public:
    StaticDirectory(RefPtr<vfs::FileSystem> fs, uint64_t ino, const StaticEntry& entry, unsigned instance)
        : SyntheticNode(std::move(fs), ino, entry.mode()),
          entries_(entry.children, entry.child_count),
          instance_(instance) {}
    Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
        for (size_t i = 0; i < entries_.size(); ++i)
            if (entries_[i].name == name)
                return make_static_node(RefPtr<vfs::FileSystem>(fs()), entries_[i], child_ino(ino, i), instance_);
        return Errno::kNOENT;
    }
    Result<> read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) override {
        if (visit_dots(cookie, ino, visitor)) visit_entries(cookie, ino, entries_, visitor);
        return {};
    }

  private:
    const std::span<const StaticEntry> entries_;
    const unsigned instance_;
};

}  // namespace

Result<vfs::Ownership> SyntheticNode::ownership() {
    vfs::Ownership result{mode_, 0, 0};
    owner(result.uid, result.gid);
    return result;
}

uint32_t SyntheticNode::count_subdirectories() {
    struct Counter final : vfs::DirectoryVisitor {
        bool visit(const vfs::DirectoryEntry& entry) override {
            count += entry.type == kDtDirectory;
            return true;
        }
        uint32_t count = 0;
    } counter;
    constexpr uint64_t kBehindDots = 2;
    (void)read_directory(kBehindDots, counter);  // of a process that is gone: none
    return counter.count;
}

Result<vfs::Attributes> SyntheticNode::attributes() {
    vfs::Attributes result;
    result.ino = ino;
    result.mode = mode_;
    result.nlink = is_directory() ? 2 + count_subdirectories() : 1;
    result.block_size = 1024;
    result.size = size();
    owner(result.uid, result.gid);
    const uint64_t now = sched::realtime_now();
    result.atime = result.mtime =
        result.ctime = {static_cast<int64_t>(now / kSecond), static_cast<uint32_t>(now % kSecond)};
    return result;
}

Result<RefPtr<vfs::File>> SyntheticNode::open(const vfs::Path& path, uint32_t flags) {
    if (!is_directory()) return Errno::kNXIO;
    return vfs::open_directory(path, flags);
}

Result<RefPtr<vfs::File>> TextNode::open(const vfs::Path& path, uint32_t flags) {
    return RefPtr<vfs::File>(TRY(make_ref<TextFile>(RefPtr<TextNode>(*this), path, flags)));
}

uint32_t StaticEntry::mode() const {
    return (is_directory ? vfs::kModeDirectory : is_link ? vfs::kModeLink : vfs::kModeRegular) | permissions;
}
uint8_t StaticEntry::directory_type() const { return is_directory ? kDtDirectory : is_link ? kDtLink : kDtRegular; }

Result<RefPtr<vfs::Inode>> make_static_node(RefPtr<vfs::FileSystem> fs, const StaticEntry& entry, uint64_t ino,
                                            unsigned instance) {
    if (entry.is_directory)
        return RefPtr<vfs::Inode>(TRY(make_ref<StaticDirectory>(std::move(fs), ino, entry, instance)));
    if (entry.is_link)
        return RefPtr<vfs::Inode>(TRY(make_ref<LinkNode>(std::move(fs), ino, TRY(String::create(entry.text)))));
    return RefPtr<vfs::Inode>(TRY(make_ref<StaticText>(std::move(fs), ino, entry, instance)));
}

bool visit_dots(uint64_t cookie, uint64_t ino, vfs::DirectoryVisitor& visitor) {
    if (cookie < 1 && !visitor.visit({".", ino, kDtDirectory, 1})) return false;
    return cookie >= 2 || visitor.visit({"..", ino, kDtDirectory, 2});
}

bool visit_entries(uint64_t cookie, uint64_t ino, std::span<const StaticEntry> entries,
                   vfs::DirectoryVisitor& visitor) {
    for (size_t i = cookie > 2 ? cookie - 2 : 0; i < entries.size(); ++i)
        if (!visitor.visit({entries[i].name, child_ino(ino, i), entries[i].directory_type(), i + 3})) return false;
    return true;
}

void put_left(TextSink& sink, std::string_view text, size_t width) {
    sink.put(text);
    for (size_t i = text.size(); i < width; ++i) sink.put(" ");
}

void put_octal(TextSink& sink, uint64_t value, size_t width) {
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = static_cast<char>('0' + (value & 7));
        value >>= 3;
    } while (value);
    while (sizeof digits - at < width && at > 0) digits[--at] = '0';
    sink.put({digits + at, sizeof digits - at});
}

void put_cpu_mask(TextSink& sink, uint64_t mask, unsigned cpus) {
    constexpr unsigned kDigitsInGroup = 8;
    for (unsigned digit = (std::max(cpus, 1U) + 3) / 4; digit-- > 0;) {
        format_to(sink, "{x}", mask >> (digit * 4) & 15);
        if (digit > 0 && digit % kDigitsInGroup == 0) sink.put(",");
    }
}

void put_cpu_list(TextSink& sink, uint64_t mask) {
    bool first = true;
    for (unsigned cpu = 0; cpu < 64; ++cpu) {
        if (!(mask >> cpu & 1)) continue;
        unsigned last = cpu;
        while (last + 1 < 64 && mask >> (last + 1) & 1) ++last;
        if (!first) sink.put(",");
        first = false;
        format_to(sink, "{}", cpu);
        if (last > cpu) format_to(sink, "-{}", last);
        cpu = last;
    }
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\t' || text.back() == '\0'))
        text.remove_suffix(1);
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    return text;
}

}  // namespace kvmsbx::fs
