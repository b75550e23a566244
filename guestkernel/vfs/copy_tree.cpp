#include "guestkernel/vfs/copy_tree.hpp"

#include "guestkernel/vfs/namei.hpp"

namespace kvmsbx::vfs {
namespace {

constexpr size_t kChunk = 64 * 1024;

struct Pair {
    Path from, to;
};

struct NameList final : DirectoryVisitor {
    Vector<String> names;
    Result<> failed;
    uint64_t cookie = 0;
    bool any = false;

    bool visit(const DirectoryEntry& entry) override {
        any = true;
        cookie = entry.cookie;
        if (entry.name == "." || entry.name == "..") return true;
        Result<String> name = String::create(entry.name);
        failed = name.is_ok() ? names.push_back(name.release_value()) : Result<>(name.error());
        return failed.is_ok();
    }
};

Result<Vector<String>> names_of(const Path& directory) {
    NameList list;
    do {
        list.any = false;
        TRY(directory.inode().read_directory(list.cookie, list));
        TRY(std::move(list.failed));
    } while (list.any);
    return std::move(list.names);
}

class TreeCopy {
  public:
    explicit TreeCopy(const Caller& caller) : caller_(caller) {}

    // Without recursion: a tree may be deep. Times of a directory are set when it is full.
    Result<> run(const Path& from, const Path& to) {
        TRY(todo_.push_back({from, to}));
        while (!todo_.empty()) {
            const Pair next = todo_.back();
            todo_.pop_back();
            for (const String& name : TRY(names_of(next.from))) TRY(copy(next, name.view()));
            if (!(next.to == to)) TRY(made_.push_back(next));
        }
        while (!made_.empty()) {
            const Pair& folder = made_.back();
            TRY(copy_times(TRY(folder.from.inode().attributes()), folder.to));
            made_.pop_back();
        }
        return {};
    }

  private:
    Result<> copy(const Pair& directory, std::string_view name) {
        const Path from = TRY(walk(caller_, directory.from, name, Follow::kNo));
        const Attributes attributes = TRY(from.inode().attributes());
        switch (attributes.mode & kModeTypeMask) {
            case kModeDirectory: TRY(make_directory(caller_, directory.to, name, 0700)); break;
            case kModeLink: TRY(make_symlink(caller_, directory.to, name, TRY(from.inode().read_link()).view())); break;
            default: TRY(make_node(caller_, directory.to, name, attributes.mode & kModeTypeMask, attributes.rdev));
        }
        const Pair made{from, TRY(walk(caller_, directory.to, name, Follow::kNo))};
        if (from.inode().type() == kModeRegular) TRY(copy_data(made));
        TRY(copy_owner_and_mode(made, attributes));
        return from.inode().is_directory() ? todo_.push_back(made) : copy_times(attributes, made.to);
    }

    Result<> copy_data(const Pair& files) {
        if (buffer_.empty()) TRY(buffer_.resize(kChunk));
        const RefPtr<File> from = TRY(files.from.inode().open(files.from, kORdonly | kOLargefile));
        const RefPtr<File> to = TRY(files.to.inode().open(files.to, kOWronly | kOLargefile));
        for (;;) {
            mm::IoBuffer space = mm::IoBuffer::kernel(buffer_.span());
            const size_t count = TRY(from->read(space));
            if (count == 0) return {};
            mm::IoBuffer bytes = mm::IoBuffer::kernel_readonly(buffer_.span().first(count));
            while (!bytes.empty()) TRY(to->write(bytes));
        }
    }

    static Result<> copy_owner_and_mode(const Pair& files, const Attributes& attributes) {
        AttributeChange change;
        change.valid = AttributeChange::kUid | AttributeChange::kGid;
        change.uid = attributes.uid, change.gid = attributes.gid;
        if (!files.to.inode().is_link()) change.valid |= AttributeChange::kMode;
        change.mode = attributes.mode & 07777;
        return files.to.inode().set_attributes(change);
    }

    static Result<> copy_times(const Attributes& attributes, const Path& to) {
        AttributeChange change;
        change.valid = AttributeChange::kAtime | AttributeChange::kMtime;
        change.atime = attributes.atime, change.mtime = attributes.mtime;
        return to.inode().set_attributes(change);
    }

    const Caller& caller_;
    Vector<Pair> todo_, made_;
    Vector<std::byte> buffer_;
};

}  // namespace

Result<> copy_contents(const Caller& caller, const Path& from, const Path& to) {
    return TreeCopy(caller).run(from, to);
}

}  // namespace kvmsbx::vfs
