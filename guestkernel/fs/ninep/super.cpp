#include "guestkernel/fs/ninep/ninep.hpp"
#include "guestkernel/fs/ninep/nodes.hpp"
#include "guestkernel/lib/format.hpp"
#include "guestkernel/vfs/file_system.hpp"

namespace kvmsbx::fs::ninep {

uint64_t NodeKey::operator()(const Node& node) const { return node.number(); }

struct Super::Table {
    Tree<Node, &Node::table_hook, boost::intrusive::key_of_value<NodeKey>> nodes;
};

Super::~Super() {
    delete table_;
    client.transport().clunk(root_fid);
}

Result<vfs::FsStatistics> Super::statistics() {
    const p9::Rstatfs reply = TRY(client.statistics(root_fid));
    vfs::FsStatistics shown;
    shown.type = reply.type, shown.block_size = reply.bsize, shown.blocks = reply.blocks;
    shown.blocks_free = reply.bfree, shown.blocks_available = reply.bavail;
    shown.files = reply.files, shown.files_free = reply.ffree, shown.name_length = reply.namelen, shown.id = reply.fsid;
    return shown;
}

Result<String> Super::options() {
    return String::create(shared ? "trans=channel,cache=none" : "trans=channel,cache=loose");
}

Result<> Super::synchronize() { return write_back_all(); }

Result<RefPtr<Node>> Super::create(uint32_t fid, const Attributes& attributes) {
    RefPtr<Super> self(*this);
    switch (attributes.mode & vfs::kModeTypeMask) {
        case vfs::kModeDirectory: return RefPtr<Node>(TRY(make_ref<Directory>(self, fid, attributes)));
        case vfs::kModeRegular: return RefPtr<Node>(TRY(make_ref<Regular>(self, fid, attributes)));
        case vfs::kModeLink: return RefPtr<Node>(TRY(make_ref<Link>(self, fid, attributes)));
        case vfs::kModeChar:
        case vfs::kModeBlock:
        case vfs::kModeFifo:
        case vfs::kModeSocket: return make_ref<Node>(self, fid, attributes);
        default: return Errno::kIO;
    }
}

Result<RefPtr<Node>> Super::obtain(const Client::Walked& walked) {
    if (!table_) table_ = TRY(make_own<Table>()).leak();
    const Attributes attributes = to_attributes(walked.attr);
    if (auto known = table_->nodes.find(attributes.ino); known != table_->nodes.end()) {
        RefPtr<Node> node(*known);
        client.transport().clunk(walked.fid);
        if (node->type() != (attributes.mode & vfs::kModeTypeMask)) return Errno::kIO;
        node->refreshed(attributes);
        return node;
    }
    Result<RefPtr<Node>> node = create(walked.fid, attributes);
    if (node.is_error())
        client.transport().clunk(walked.fid);
    else
        table_->nodes.insert(*node.value());
    return node;
}

Result<RefPtr<Node>> Super::obtain_entry(Directory& parent, std::string_view name, const p9::Attr& attr) {
    const Attributes attributes = to_attributes(attr);
    // What is known here may have changed since the listing.
    if (auto known = table_->nodes.find(attributes.ino); known != table_->nodes.end()) return RefPtr<Node>(*known);
    RefPtr<Node> node = TRY(create(p9::kNoFid, attributes));
    TRY(node->set_origin(parent, name));
    table_->nodes.insert(*node);
    return node;
}

namespace {

struct Connection {
    Client client{transport()};
};
Connection* connection;

Result<RefPtr<vfs::Inode>> make_ninep(const vfs::MountOptions& options) {
    if (!connection) return Errno::kNODEV;
    Client& client = connection->client;
    auto super = TRY(make_ref<Super>(client, options.shared_access));
    super->root_fid = client.transport().new_fid();
    Result<p9::Attr> root = client.attach(super->root_fid, options.source);
    if (root.is_error()) {
        debug("9p: attaching export \"{}\" failed with errno {}", options.source, static_cast<int32_t>(root.error()));
        client.transport().recycle(std::exchange(super->root_fid, p9::kNoFid));
        return root.error();
    }
    // The root inode has the attach's fid: the super only asks statfs of it, and gives it back when both are gone.
    RefPtr<Node> node = TRY(super->obtain({super->root_fid, root.value()}));
    return RefPtr<vfs::Inode>(node);
}

}  // namespace

Result<> initialize(std::span<uint8_t> channel, void (*doorbell)()) {
    TRY(transport().initialize(channel, doorbell));
    if (!connection) {
        connection = TRY(make_own<Connection>()).leak();
        TRY(vfs::register_file_system("9p", make_ninep));
    }
    mm::reclaim = drop_pages;
    mm::evict = evict_pages;
    return connection->client.negotiate();
}

void start_blocking() { transport().start_blocking(); }

}  // namespace kvmsbx::fs::ninep
