#include "gofer/owners.hpp"

#include <algorithm>
#include <sstream>

namespace kvmsbx::gofer {
namespace {

constexpr uint32_t kNobody = 65534;  // overflowuid(5)

IdRanges inverse(IdRanges ranges) {
    for (IdRange& range : ranges) std::swap(range.inside, range.outside);
    return ranges;
}

// First one, then the other.
IdRanges chain(const IdRanges& first, const IdRanges& second) {
    if (first.empty()) return second;
    if (second.empty()) return first;
    IdRanges both;
    for (const IdRange& a : first) {
        for (const IdRange& b : second) {
            const uint64_t begin = std::max(a.outside, b.inside);
            const uint64_t end = std::min(uint64_t{a.outside} + a.size, uint64_t{b.inside} + b.size);
            if (begin >= end) continue;
            both.push_back({static_cast<uint32_t>(a.inside + (begin - a.outside)),
                            static_cast<uint32_t>(b.outside + (begin - b.inside)), static_cast<uint32_t>(end - begin)});
        }
    }
    if (both.empty()) both.push_back({0, 0, 0});  // no id at all, which is not the same as each
    return both;
}

}  // namespace

IdTable IdTable::create(const IdRanges& container, const IdRanges& mount, const IdRanges& own) {
    IdTable table;
    table.plain_ = container.empty() && mount.empty() && own.empty();
    table.ranges_ = chain(chain(container, inverse(mount)), inverse(own));
    return table;
}

uint32_t IdTable::to_client(uint32_t own) const {
    if (plain_) return own;
    for (const IdRange& range : ranges_)
        if (own - range.outside < range.size) return range.inside + (own - range.outside);
    return kNobody;
}

Result<uint32_t> IdTable::to_own(uint32_t client) const {
    if (plain_) return client;
    for (const IdRange& range : ranges_)
        if (client - range.inside < range.size) return range.outside + (client - range.inside);
    return Errno::kOVERFLOW;
}

IdRanges parse_id_map(const std::string& text) {
    IdRanges ranges;
    std::istringstream words(text);
    IdRange range;
    while (words >> range.inside >> range.outside >> range.size) ranges.push_back(range);
    return ranges;
}

}  // namespace kvmsbx::gofer
