#include "gofer/qid_map.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace kvmsbx::gofer {

uint64_t QidMap::path(uint64_t device, uint64_t inode) {
    size_t number = static_cast<size_t>(std::find(devices_.begin(), devices_.end(), device) - devices_.begin());
    if (number == devices_.size() && number < kTable) devices_.push_back(device);
    if (number < kTable && inode >> 56 == 0) return uint64_t{number} << 56 | inode;
    return kTable << 56 | table_.try_emplace({device, inode}, table_.size()).first->second;
}

p9::Qid QidMap::qid(uint64_t device, uint64_t inode, const p9::Attr& attr) {
    p9::Qid result;
    result.type = S_ISDIR(attr.mode) ? p9::kQidDirectory : S_ISLNK(attr.mode) ? p9::kQidSymlink : p9::kQidFile;
    uint64_t mix =
        attr.ctime_sec * 1'000'000'000 + attr.ctime_nsec + (attr.mtime_sec ^ attr.mtime_nsec << 20) + attr.size;
    mix *= 0x9e37'79b9'7f4a'7c15;
    result.version = static_cast<uint32_t>(mix >> 32);
    result.path = path(device, inode);
    return result;
}

}  // namespace kvmsbx::gofer
