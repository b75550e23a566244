#include "guestkernel/mm/page_cache.hpp"

#include <cstring>

namespace kvmsbx::mm {
namespace {
constexpr unsigned kBits = 6, kFanout = 1 << kBits;
constexpr uint64_t kDirty = 1;  // lowest bit of a leaf's slot
constexpr unsigned kMaxLevels = 11;
constexpr uint64_t kWindow = 128;  // pages that lie in a row where that is possible, whatever order they come in
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

void PageCache::count(int64_t pages) {
    pages_ += static_cast<uint64_t>(pages);
    count_cached(pages, content_ == Content::kOfFile);
}

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
    count(1);
    return {};
}

void PageCache::remove(uint64_t index) {
    uint64_t* slot = Node::find(root_, levels_, index);
    if (!slot || !*slot) return;
    release(Node::frame(*slot));
    *slot = 0;
    count(-1);
    // The leaf's count is brought up to date by walking down once more; empty nodes stay until truncate.
    Node* node = root_;
    for (unsigned level = levels_; level > 1; --level)
        node = Node::node(node->slots[index >> (kBits * (level - 1)) & (kFanout - 1)]);
    --node->used;
}

void PageCache::truncate(uint64_t first_index) {
    (void)drop_run();
    if (!root_) return;
    uint64_t dropped = 0;
    const bool empty = root_->truncate(levels_, 0, first_index, dropped);
    count(-static_cast<int64_t>(dropped));
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

auto& PageCache::with_runs() {
    static List<PageCache, &PageCache::run_hook_> all;
    return all;
}

void PageCache::set_run(Frame* run) {
    run_ = run;
    run_hook_.unlink();
    if (run) with_runs().push_back(*this);
}

Result<Frame*> PageCache::allocate(uint64_t index, Zero zero, uint64_t end) {
    const bool begins = index > 0 && index % kBlockPages == 0 && !run_;
    if (begins && find(index - 1) && next(index) >= index + kBlockPages)
        if (auto block = allocate_huge(Zero::kNo); block.is_ok()) set_run(block.value()), run_next_ = index;
    if (!run_ || index != run_next_) {
        if (run_ && index / kBlockPages != run_next_ / kBlockPages) (void)drop_run();
        const uint64_t first = index & ~(kWindow - 1), last = (end < first + kWindow ? end : first + kWindow) - 1;
        return allocate_frame(
            zero, {index, first, last > index ? last : index, index > 0 ? find(index - 1) : nullptr, find(index + 1)});
    }
    Frame* frame = run_;
    set_run(++run_next_ % kBlockPages ? frame + 1 : nullptr);
    if (zero == Zero::kYes) memset(frame->data(), 0, kPageSize);
    return frame;
}

uint64_t PageCache::drop_run() {
    if (!run_) return 0;
    const uint64_t count = kBlockPages - run_next_ % kBlockPages;
    for (uint64_t i = 0; i < count; ++i) release(run_ + i);
    set_run(nullptr);
    return count;
}

uint64_t drop_runs() {
    uint64_t count = 0;
    for (auto& all = PageCache::with_runs(); !all.empty();) count += all.front().drop_run();
    return count;
}

Frame* PageCache::find_block(uint64_t first) const {
    Frame* const block = find(first);
    if (!block || block->phys() % kHugePageSize) return nullptr;
    for (uint64_t at = 0; at < kBlockPages; at += kFanout) {
        const uint64_t* slots = Node::find(root_, levels_, first + at);
        if (!slots) return nullptr;
        for (uint64_t i = 0; i < kFanout; ++i)
            if (Node::frame(slots[i]) != block + at + i) return nullptr;
    }
    return block;
}

unsigned PageCache::count_in_block(uint64_t first) const {
    unsigned count = 0;
    for (uint64_t at = 0; at < kBlockPages; at += kFanout) {
        const uint64_t* slots = Node::find(root_, levels_, first + at);
        for (uint64_t i = 0; slots && i < kFanout; ++i) count += slots[i] != 0;
    }
    return count;
}

bool PageCache::move_block(uint64_t first, Frame* to) {
    for (uint64_t i = 0; i < kBlockPages; ++i)
        if (find(first + i)->references != 1) return false;
    for (uint64_t at = 0; at < kBlockPages; at += kFanout) {
        uint64_t* slots = Node::find(root_, levels_, first + at);
        for (uint64_t i = 0; i < kFanout; ++i) {
            Frame* old = Node::frame(slots[i]);
            memcpy(to[at + i].data(), old->data(), kPageSize);
            slots[i] = Node::pack(to + at + i) | (slots[i] & kDirty);
            release(old);
        }
    }
    return true;
}

}  // namespace kvmsbx::mm
