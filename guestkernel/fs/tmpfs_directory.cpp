#include "guestkernel/fs/tmpfs_nodes.hpp"

namespace kvmsbx::fs::tmpfs {

using vfs::kModeDirectory;
using vfs::NewNode;

namespace {

constexpr int64_t kEntrySize = 20;  // what Linux counts per name in a tmpfs directory's size

uint8_t entry_type(uint32_t mode) { return static_cast<uint8_t>((mode & vfs::kModeTypeMask) >> 12); }

Result<> take_inode(Super& super) {
    return super.limits.inodes && super.used_inodes >= super.limits.inodes ? Result<>(Errno::kNOSPC) : Result<>();
}

}  // namespace

// Trees may be of any depth: directories are deleted in a loop, not by recursion.
void Directory::last_reference_gone() {
    static List<Directory, &Directory::doomed_hook> doomed;
    static bool busy;
    doomed.push_back(*this);
    if (busy) return;
    busy = true;
    while (!doomed.empty()) {
        Directory& next = doomed.front();
        doomed.pop_front();
        delete &next;
    }
    busy = false;
}

Directory::~Directory() {
    while (!names_.empty()) remove(*names_.begin());
}

Entry* Directory::find(std::string_view name) {
    auto it = names_.find(name);
    return it == names_.end() ? nullptr : &*it;
}

Result<> Directory::add(std::string_view name, RefPtr<Node> node) {
    if (attributes_.nlink == 0) return Errno::kNOENT;
    auto entry = TRY(make_own<Entry>());
    entry->name = TRY(String::create(name));
    entry->cookie = ++last_cookie_;
    if (node->is_directory()) add_links(1);
    entry->node = std::move(node);
    cookies_.insert(*entry);
    names_.insert(*entry.leak());
    attributes_.size += kEntrySize;
    touch();
    return {};
}

void Directory::remove(Entry& entry) {
    if (entry.node->is_directory()) add_links(-1);
    attributes_.size -= kEntrySize;
    delete &entry;
}

void Directory::replace(Entry& entry, RefPtr<Node> node) {
    if (entry.node->is_directory()) add_links(-1);
    entry.node = std::move(node);
}

Result<RefPtr<Inode>> Directory::lookup(std::string_view name) {
    Entry* entry = find(name);
    if (!entry) return Errno::kNOENT;
    return RefPtr<Inode>(entry->node);
}

Result<RefPtr<Inode>> Directory::create(std::string_view name, const NewNode& node) {
    TRY(take_inode(super()));
    auto made = TRY(make_regular(RefPtr<Super>(super()), node));
    TRY(add(name, made));
    return RefPtr<Inode>(made);
}

Result<RefPtr<Inode>> Directory::create_unnamed(const NewNode& node) {
    TRY(take_inode(super()));
    auto made = TRY(make_regular(RefPtr<Super>(super()), node));
    made->add_links(-1);
    return RefPtr<Inode>(made);
}

Result<RefPtr<Inode>> Directory::make_directory(std::string_view name, const NewNode& node) {
    TRY(take_inode(super()));
    auto made = TRY(make_ref<Directory>(RefPtr<Super>(super()), node));
    TRY(add(name, made));
    return RefPtr<Inode>(made);
}

Result<RefPtr<Inode>> Directory::make_node(std::string_view name, const NewNode& node) {
    TRY(take_inode(super()));
    auto made = TRY(make_ref<Node>(RefPtr<Super>(super()), node));
    TRY(add(name, made));
    return RefPtr<Inode>(made);
}

Result<RefPtr<Inode>> Directory::make_symlink(std::string_view name, std::string_view target, const NewNode& node) {
    TRY(take_inode(super()));
    auto made = TRY(make_ref<Link>(RefPtr<Super>(super()), node, TRY(String::create(target))));
    TRY(add(name, made));
    return RefPtr<Inode>(made);
}

Result<> Directory::link(std::string_view name, Inode& target) {
    Node& node = static_cast<Node&>(target);
    TRY(add(name, RefPtr<Node>(node)));
    node.add_links(1);
    return {};
}

Result<> Directory::unlink(std::string_view name, Inode& victim) {
    Entry* entry = find(name);
    if (!entry) return Errno::kNOENT;
    static_cast<Node&>(victim).add_links(-1);
    remove(*entry);
    touch();
    return {};
}

Result<> Directory::remove_directory(std::string_view name, Inode& victim) {
    Entry* entry = find(name);
    if (!entry) return Errno::kNOENT;
    Directory& directory = static_cast<Directory&>(victim);
    if (!directory.names_.empty()) return Errno::kNOTEMPTY;
    directory.add_links(-2);
    remove(*entry);
    touch();
    return {};
}

Result<> Directory::rename(std::string_view name, Inode& node, Inode& new_parent, std::string_view new_name,
                           Inode* target, uint32_t flags) {
    constexpr uint32_t kExchange = 2, kWhiteout = 4;
    Directory& destination = static_cast<Directory&>(new_parent);
    Entry* from = find(name);
    Entry* to = destination.find(new_name);
    if (!from || (target && !to)) return Errno::kNOENT;
    if (flags & kExchange) {
        const int move = (to->node->is_directory() ? 1 : 0) - (from->node->is_directory() ? 1 : 0);
        std::swap(from->node, to->node);
        add_links(move);
        destination.add_links(-move);
        destination.touch();
        touch();
        return {};
    }
    if (target && target->is_directory() && !static_cast<Directory*>(target)->names_.empty()) return Errno::kNOTEMPTY;
    RefPtr<Node> whiteout;
    if (flags & kWhiteout) {
        TRY(take_inode(super()));
        whiteout =
            TRY(make_ref<Node>(RefPtr<Super>(super()), NewNode{vfs::kModeChar, attributes_.uid, attributes_.gid}));
    }
    if (to) {
        to->node->add_links(target->is_directory() ? -2 : -1);
        destination.add_links((node.is_directory() ? 1 : 0) - (target->is_directory() ? 1 : 0));
        to->node = RefPtr<Node>(static_cast<Node&>(node));
        destination.touch();
    } else {
        TRY(destination.add(new_name, RefPtr<Node>(static_cast<Node&>(node))));
    }
    if (whiteout)
        replace(*find(name), std::move(whiteout));
    else
        remove(*from);
    touch();
    return {};
}

Result<> Directory::read_directory(uint64_t cookie, vfs::DirectoryVisitor& visitor) {
    constexpr uint8_t kDirectoryType = kModeDirectory >> 12;
    if (cookie < 1 && !visitor.visit({".", attributes_.ino, kDirectoryType, 1})) return {};
    if (cookie < 2 && !visitor.visit({"..", attributes_.ino, kDirectoryType, 2})) return {};
    uint64_t next = cookie < 2 ? 3 : cookie + 1;
    for (;;) {  // the visitor may block: nothing of the tree is kept across it
        auto it = cookies_.lower_bound(next);
        if (it == cookies_.end()) return {};
        RefPtr<Node> node = it->node;
        String name = TRY(it->name.clone());
        next = it->cookie + 1;
        const Attributes attributes = TRY(node->attributes());
        if (!visitor.visit({name, attributes.ino, entry_type(attributes.mode), next - 1})) return {};
    }
}

}  // namespace kvmsbx::fs::tmpfs
