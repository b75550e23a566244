#include "guestkernel/vfs/mount_point.hpp"

#include "guestkernel/vfs/namei.hpp"

namespace kvmsbx::vfs {
namespace {

constexpr unsigned kMostLinks = 40;

// Component by component: each step's error says what to do with it.
class PlaceFinder {
  public:
    PlaceFinder(const Caller& caller, PlaceKind kind) : caller_(caller), kind_(kind), at_(caller.fs.root) {}

    Result<ObtainedPlace> find(std::string_view path) {
        rest_ = TRY(String::create(path));
        for (;;) {
            const String name = TRY(take_name());
            if (name.empty()) return ObtainedPlace{at_, made_};
            TRY(step(name.view()));
        }
    }

  private:
    // The first component of what is left; empty: nothing is.
    Result<String> take_name() {
        const std::string_view rest = rest_.view();
        const size_t start = std::min(rest.find_first_not_of('/'), rest.size());
        const size_t end = std::min(rest.find('/', start), rest.size());
        String name = TRY(String::create(rest.substr(start, end - start)));
        rest_ = TRY(String::create(rest.substr(end)));
        return name;
    }
    bool is_last() const { return rest_.view().find_first_not_of('/') == std::string_view::npos; }

    Result<> step(std::string_view name) {
        Result<Path> found = walk(caller_, at_, name, Follow::kNo);
        if (found.is_error() && found.error() == Errno::kNOENT) return make(name);
        made_ = false;
        const Path next = TRY(std::move(found));
        if (!next.inode().is_link()) {
            at_ = next;
            return {};
        }
        if (!next.inode().is_magic_link()) return follow(next);
        at_ = TRY(walk(caller_, at_, name, Follow::kYes));
        return {};
    }

    Result<> follow(const Path& link) {
        if (++links_ > kMostLinks) return Errno::kLOOP;
        String target = TRY(link.inode().read_link());
        if (target.view().starts_with('/')) at_ = caller_.fs.root;
        TRY(target.append(rest_.view()));
        rest_ = std::move(target);
        return {};
    }

    Result<> make(std::string_view name) {
        if (is_last() && kind_ == PlaceKind::kFile) {
            at_ = TRY(make_node(caller_, at_, name, kModeRegular | 0644, 0));
        } else {
            TRY(make_directory(caller_, at_, name, 0755));
            at_ = TRY(walk(caller_, at_, name, Follow::kNo));
        }
        made_ = true;
        return {};
    }

    const Caller& caller_;
    const PlaceKind kind_;
    Path at_;
    String rest_;
    bool made_ = false;
    unsigned links_ = 0;
};

}  // namespace

Result<ObtainedPlace> obtain_place(const Caller& caller, std::string_view path, PlaceKind kind) {
    return PlaceFinder(caller, kind).find(path);
}

Result<Path> obtain_directory(const Caller& caller, std::string_view path) {
    return TRY(obtain_place(caller, path, PlaceKind::kDirectory)).path;
}

}  // namespace kvmsbx::vfs
