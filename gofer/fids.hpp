#pragma once
// What the client's fids stand for. A Node is an inode that was walked to, held by an O_PATH descriptor, shared by all
// fids cloned from each other. A Fid refers to a node and may besides be open.
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "gofer/host_files.hpp"
#include "gofer/owners.hpp"

namespace kvmsbx::gofer {

// A tree that can be attached: the root, or a bind mount (which may be a single file).
struct Export {
    static constexpr int kRootIndex = -1;
    int index = kRootIndex;  // in config.json's mounts
    host::Fd fd;             // O_PATH
    bool readonly = false;
    OwnerTable owners = {};
};

struct Node {
    host::Fd fd;
    uint32_t type = 0;  // S_IFMT bits; an inode never changes its type
    uint64_t qid_path = 0;
    const Export* tree = nullptr;
    // For Tremove and Trename, which name a file by its fid alone. Weak: a chain of owners could be as long as the
    // client likes.
    std::weak_ptr<const Node> parent;
    std::string name;
};

// An extended attribute that is being read or written. Values are large, so only few may be there at a time.
struct XattrValue {
    static constexpr size_t kMaxLive = 64;
    explicit XattrValue(size_t& live) : live_(live) { live_++; }
    XattrValue(const XattrValue&) = delete;
    ~XattrValue() { live_--; }

    std::string name;    // writing: the attribute to set at clunk. Reading: ""
    std::string value;   // reading: the value. Writing: what has come so far
    uint64_t size = 0;   // writing: the announced size
    uint32_t flags = 0;  // XATTR_CREATE, XATTR_REPLACE

  private:
    size_t& live_;
};

struct Fid {
    std::shared_ptr<const Node> node;
    uint32_t uid = p9::kNoUid;        // of Tattach: owns what plain messages create
    host::Fd open;                    // regular file or directory, after lopen and kin
    uint64_t directory_position = 0;  // where `open` stands, for directories
    std::unique_ptr<XattrValue> xattr;
};

class FidTable {
  public:
    static constexpr size_t kMaxFids = 1 << 18;

    // kBADF: no such fid.
    Result<Fid*> find(uint32_t number) {
        auto found = fids_.find(number);
        if (found == fids_.end()) return Errno::kBADF;
        return &found->second;
    }
    // kINVAL: in use, or kNoFid; kNFILE: too many.
    Result<> check_free(uint32_t number) const {
        if (number == p9::kNoFid || fids_.contains(number)) return Errno::kINVAL;
        if (fids_.size() >= kMaxFids) return Errno::kNFILE;
        return {};
    }
    void put(uint32_t number, Fid fid) { fids_[number] = std::move(fid); }
    bool remove(uint32_t number) { return fids_.erase(number) != 0; }
    void clear() { fids_.clear(); }
    size_t size() const { return fids_.size(); }

  private:
    std::unordered_map<uint32_t, Fid> fids_;
};

}  // namespace kvmsbx::gofer
