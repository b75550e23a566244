#pragma once
// Inodes whose content is made up when it is read: the base of proc and sys.
//
// Model. A TextNode writes its whole content into a TextSink; a TextFile keeps one such text, made anew at each read at
// offset 0, so that a reader who goes on from where it was sees one consistent text and one who rewinds (top, uptime)
// sees news. Fixed trees are tables of StaticEntry: a name with a generator (and perhaps a writer), a link target, or a
// table of children. Inodes are made at lookup and hold no state but what they stand for; names are never cached
// (FileSystem::cacheable_names is false), because processes come and go.
#include <span>

#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/inode_file.hpp"

namespace kvmsbx::fs {

inline constexpr uint8_t kDtDirectory = 4, kDtRegular = 8, kDtLink = 10;

class SyntheticFileSystem : public vfs::FileSystem {
  public:
    // type: lives for ever. magic: statfs(2)'s f_type.
    SyntheticFileSystem(std::string_view type, uint64_t magic) : type_(type), magic_(magic) { cacheable_names = false; }
    Result<vfs::FsStatistics> statistics() override { return vfs::FsStatistics{.type = magic_}; }
    std::string_view type_name() const override { return type_; }

  private:
    const std::string_view type_;
    const uint64_t magic_;
};

class SyntheticNode : public vfs::Inode {
  public:
    // mode: type and permission bits.
    SyntheticNode(RefPtr<vfs::FileSystem> fs, uint64_t ino, uint32_t mode)
        : Inode(std::move(fs)), ino(ino), mode_(mode) {}
    // SAFETY: a synthetic file system has no other inodes than these.
    bool is_same(const vfs::Inode& other) const override {
        const auto& node = static_cast<const SyntheticNode&>(other);
        // A link is made anew each time: "self" depends on who asks.
        return !is_link() && ino == node.ino && type() == node.type() && identity() == node.identity();
    }
    Result<vfs::Attributes> attributes() override;
    Result<> set_attributes(const vfs::AttributeChange&) override { return Errno::kPERM; }
    Result<vfs::Ownership> ownership() override;
    // No name can be made here; Linux says that it does not exist.
    Result<RefPtr<vfs::Inode>> create(std::string_view, const vfs::NewNode&) override { return Errno::kNOENT; }
    Result<RefPtr<vfs::Inode>> make_directory(std::string_view, const vfs::NewNode&) override { return Errno::kNOENT; }
    Result<RefPtr<vfs::Inode>> make_node(std::string_view, const vfs::NewNode&) override { return Errno::kNOENT; }
    Result<RefPtr<vfs::Inode>> make_symlink(std::string_view, std::string_view, const vfs::NewNode&) override {
        return Errno::kNOENT;
    }
    uint32_t type() const override { return mode_ & vfs::kModeTypeMask; }
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) override;
    const uint64_t ino;

  protected:
    // What it stands for besides its number: numbers of processes are used again.
    virtual const void* identity() const { return nullptr; }
    virtual uint64_t size() const { return 0; }
    // What a directory's st_nlink counts besides the directory itself. Overridden where a walk would be long.
    virtual uint32_t count_subdirectories();
    // Who it belongs to: root, or a process's user.
    virtual void owner(uint32_t& uid, uint32_t& gid) { uid = gid = 0; }

  private:
    const uint32_t mode_;
};

class TextNode : public SyntheticNode {
  public:
    TextNode(RefPtr<vfs::FileSystem> fs, uint64_t ino, uint32_t permissions)
        : SyntheticNode(std::move(fs), ino, vfs::kModeRegular | permissions) {}
    virtual Result<> generate(TextSink& sink) = 0;
    virtual Result<> store(std::string_view) { return Errno::kINVAL; }
    // open(2) with O_TRUNC, as shells do it for ">".
    Result<> set_attributes(const vfs::AttributeChange& change) override {
        return (change.valid & vfs::AttributeChange::kSize) ? Result<>() : Errno::kPERM;
    }
    Result<RefPtr<vfs::File>> open(const vfs::Path& path, uint32_t flags) final;
};

using Generator = Result<> (*)(TextSink& sink);
using InstanceGenerator = Result<> (*)(unsigned instance, TextSink& sink);
using Writer = Result<> (*)(std::string_view text);

struct StaticEntry {
    std::string_view name;
    uint32_t permissions = 0444;
    Generator generate = nullptr;  // a file
    Writer store = nullptr;
    std::string_view text = {};  // a file with this content, if generate is null; or a link's target
    bool is_link = false, is_directory = false;
    const StaticEntry* children = nullptr;  // a directory
    size_t child_count = 0;
    InstanceGenerator generate_for = nullptr;  // a file of a tree that stands for one of several (a vCPU)
    uint32_t mode() const;
    uint8_t directory_type() const;
};

constexpr StaticEntry text_entry(std::string_view name, Generator generate, uint32_t permissions = 0444,
                                 Writer store = nullptr) {
    return {.name = name, .permissions = permissions, .generate = generate, .store = store};
}
constexpr StaticEntry instance_entry(std::string_view name, InstanceGenerator generate) {
    return {.name = name, .generate_for = generate};
}
constexpr StaticEntry constant_entry(std::string_view name, std::string_view text) {
    return {.name = name, .text = text};
}
constexpr StaticEntry link_entry(std::string_view name, std::string_view target) {
    return {.name = name, .permissions = 0777, .text = target, .is_link = true};
}
template <size_t N>
constexpr StaticEntry directory_entry(std::string_view name, const StaticEntry (&children)[N]) {
    return {.name = name, .permissions = 0555, .is_directory = true, .children = children, .child_count = N};
}
constexpr StaticEntry empty_directory(std::string_view name) {
    return {.name = name, .permissions = 0755, .is_directory = true};
}

// The inode of an entry. ino: its own number; children get numbers derived from it.
// `instance`: what generate_for of it and of all below it gets.
Result<RefPtr<vfs::Inode>> make_static_node(RefPtr<vfs::FileSystem> fs, const StaticEntry& entry, uint64_t ino,
                                            unsigned instance = 0);
// Number of the child at `index` of a static directory.
constexpr uint64_t child_ino(uint64_t parent, size_t index) { return parent * 64 + index + 1; }

// Gives "." and ".." (cookies 1, 2); false when the visitor stopped.
bool visit_dots(uint64_t cookie, uint64_t ino, vfs::DirectoryVisitor& visitor);
// Gives entries with cookies 3, 4, ...; false when the visitor stopped.
bool visit_entries(uint64_t cookie, uint64_t ino, std::span<const StaticEntry> entries, vfs::DirectoryVisitor& visitor);

class LinkNode final : public SyntheticNode {
  public:
    LinkNode(RefPtr<vfs::FileSystem> fs, uint64_t ino, String target)
        : SyntheticNode(std::move(fs), ino, vfs::kModeLink | 0777), target_(std::move(target)) {}
    Result<String> read_link() override { return target_.clone(); }

  private:
    String target_;
};

// --- text

// printf's %-Ns.
void put_left(TextSink& sink, std::string_view text, size_t width);
void put_octal(TextSink& sink, uint64_t value, size_t width = 0);
// "ff" or "1,ffffffff": a digit for every four of `cpus`.
void put_cpu_mask(TextSink& sink, uint64_t mask, unsigned cpus);
// "0-3,5" (bitmap_print_to_pagebuf).
void put_cpu_list(TextSink& sink, uint64_t mask);
// Without the white space around it.
std::string_view trimmed(std::string_view text);

}  // namespace kvmsbx::fs
