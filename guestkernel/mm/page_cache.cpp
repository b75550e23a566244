#include "guestkernel/mm/page_cache.hpp"

#include "guestkernel/mm/address_space.hpp"

namespace kvmsbx::mm {
namespace {
constexpr unsigned kBits = 6, kFanout = 1 << kBits;
constexpr uint64_t kDirty = 1;  // lowest bit of a leaf's slot
constexpr unsigned kMaxLevels = 11;
}  // namespace

// Inner nodes hold nodes, the lowest level holds frames.
// SAFETY: slots are pointers of one kind by level, with a mark in bit 0.
struct PageCache::Node {
    uint64_t slots[kFanout] = {};
    unsigned used = 0;

    static Node* node(uint64_t slot) { return reinterpret_cast<Node*>(slot); }
    static Frame* frame(uint64_t slot) { return reinterpret_cast<Frame*>(slot & ~kDirty); }
    static uint64_t pack(void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

    static uint64_t* find(Node* node, unsigned levels, uint64_t index) {
        if (!node || (levels < kMaxLevels && index >> (kBits * levels))) return nullptr;
        for (; levels > 1; --levels) {
            node = Node::node(node->slots[index >> (kBits * (levels - 1)) & (kFanout - 1)]);
            if (!node) return nullptr;
        }
        return &node->slots[index & (kFanout - 1)];
    }

    // Drops frames with index >= first below this node; true when the node is empty after it.
    bool truncate(unsigned level, uint64_t base, uint64_t first, uint64_t& dropped) {
        for (unsigned i = 0; i < kFanout; ++i) {
            if (!slots[i]) continue;
            const uint64_t start = base + (uint64_t{i} << (kBits * (level - 1)));
            const uint64_t last = start + ((1ULL << (kBits * (level - 1))) - 1);
            if (last < first) continue;
            if (level == 1) {
                release(frame(slots[i]));
                ++dropped;
            } else {
                if (!node(slots[i])->truncate(level - 1, start, first, dropped)) continue;
                delete node(slots[i]);
            }
            slots[i] = 0;
            --used;
        }
        return used == 0;
    }

    uint64_t next(unsigned level, uint64_t base, uint64_t from) const {
        for (unsigned i = 0; i < kFanout; ++i) {
            if (!slots[i]) continue;
            const uint64_t start = base + (uint64_t{i} << (kBits * (level - 1)));
            const uint64_t last = start + ((1ULL << (kBits * (level - 1))) - 1);
            if (last < from) continue;
            if (level == 1) return start;
            const uint64_t found = node(slots[i])->next(level - 1, start, from);
            if (found != ~0ULL) return found;
        }
        return ~0ULL;
    }
};

Frame* PageCache::find(uint64_t index) const {
    uint64_t* slot = Node::find(root_, levels_, index);
    return slot ? Node::frame(*slot) : nullptr;
}

Result<> PageCache::insert(uint64_t index, Frame* frame) {
    while (!root_ || (levels_ < kMaxLevels && index >> (kBits * levels_))) {
        Node* grown = new (std::nothrow) Node;
        if (!grown) return Errno::kNOMEM;
        if (root_) {
            grown->slots[0] = Node::pack(root_);
            grown->used = 1;
        }
        root_ = grown;
        ++levels_;
    }
    Node* node = root_;
    for (unsigned level = levels_; level > 1; --level) {
        uint64_t& slot = node->slots[index >> (kBits * (level - 1)) & (kFanout - 1)];
        if (!slot) {
            Node* child = new (std::nothrow) Node;
            if (!child) return Errno::kNOMEM;
            slot = Node::pack(child);
            ++node->used;
        }
        node = Node::node(slot);
    }
    uint64_t& slot = node->slots[index & (kFanout - 1)];
    if (slot) return Errno::kEXIST;
    slot = Node::pack(frame);
    ++node->used;
    ++pages_;
    count_cached(1);
    return {};
}

void PageCache::remove(uint64_t index) {
    uint64_t* slot = Node::find(root_, levels_, index);
    if (!slot || !*slot) return;
    release(Node::frame(*slot));
    *slot = 0;
    --pages_;
    count_cached(-1);
    // The leaf's count is brought up to date by walking down once more; empty nodes stay until truncate.
    Node* node = root_;
    for (unsigned level = levels_; level > 1; --level)
        node = Node::node(node->slots[index >> (kBits * (level - 1)) & (kFanout - 1)]);
    --node->used;
}

void PageCache::truncate(uint64_t first_index) {
    if (!root_) return;
    uint64_t dropped = 0;
    const bool empty = root_->truncate(levels_, 0, first_index, dropped);
    pages_ -= dropped;
    count_cached(-static_cast<int64_t>(dropped));
    if (!empty) return;
    delete root_;
    root_ = nullptr;
    levels_ = 0;
}

uint64_t PageCache::next(uint64_t from) const { return root_ ? root_->next(levels_, 0, from) : ~0ULL; }

void PageCache::set_dirty(uint64_t index, bool dirty) {
    uint64_t* slot = Node::find(root_, levels_, index);
    if (slot && *slot) *slot = dirty ? *slot | kDirty : *slot & ~kDirty;
}

bool PageCache::is_dirty(uint64_t index) const {
    uint64_t* slot = Node::find(root_, levels_, index);
    return slot && (*slot & kDirty);
}

void Mappable::add_mapping(Vma& vma) {
    vma.next_mapping = mappings_;
    vma.previous_link = &mappings_;
    if (mappings_) mappings_->previous_link = &vma.next_mapping;
    mappings_ = &vma;
    mapping_added();
}

void Mappable::remove_mapping(Vma& vma) {
    if (!vma.previous_link) return;
    *vma.previous_link = vma.next_mapping;
    if (vma.next_mapping) vma.next_mapping->previous_link = vma.previous_link;
    vma.previous_link = nullptr;
    mapping_removed();
}

bool Mappable::has_shared_writers() const {
    for (const Vma* vma = mappings_; vma; vma = vma->next_mapping)
        if (vma->shared && (vma->max_protection & kProtWrite)) return true;
    return false;
}

Mappable::~Mappable() { VERIFY(!mappings_); }

void Mappable::unmap_pages(uint64_t first, uint64_t last, bool also_private_copies) {
    for (Vma* vma = mappings_; vma; vma = vma->next_mapping) {
        const uint64_t pages = (vma->end - vma->start) / kPageSize;
        if (vma->first_page > last || vma->first_page + pages <= first) continue;
        const uint64_t from = first > vma->first_page ? first - vma->first_page : 0;
        const uint64_t to = last - vma->first_page >= pages ? pages : last - vma->first_page + 1;
        vma->space->unmap_object_pages(*vma, vma->start + from * kPageSize, vma->start + to * kPageSize,
                                       also_private_copies);
    }
}

}  // namespace kvmsbx::mm
