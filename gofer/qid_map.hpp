#pragma once
// Makes qid.path, 64 bits unique per (device, inode), out of 128: the upper 8 bits are the number of the device in
// order of appearance, the lower 56 the inode number. What does not fit (inode numbers over 2^56, devices beyond the
// 255th) gets numbers from a table.
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "common/p9/types.hpp"

namespace kvmsbx::gofer {

class QidMap {
  public:
    uint64_t path(uint64_t device, uint64_t inode);
    // The qid of a file with these attributes; its version follows mtime, ctime and size.
    p9::Qid qid(uint64_t device, uint64_t inode, const p9::Attr& attr);

  private:
    static constexpr uint64_t kTable = 0xff;  // "device number" of the numbers given out by the table
    std::vector<uint64_t> devices_;
    std::map<std::pair<uint64_t, uint64_t>, uint64_t> table_;
};

}  // namespace kvmsbx::gofer
