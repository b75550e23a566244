#include "guestkernel/control/environment.hpp"

#include <cstring>

#include "guestkernel/vfs/handle.hpp"

namespace kvmsbx::control {
namespace {

constexpr size_t kMostOfPasswd = 1 << 20;  // bytes that are looked at
constexpr size_t kNotThere = ~size_t{0};

std::string_view name_of(std::string_view entry) { return entry.substr(0, entry.find('=')); }
std::string_view value_of(std::string_view entry) { return entry.substr(entry.find('=') + 1); }

size_t find(const Vector<String>& entries, std::string_view name) {
    for (size_t i = 0; i < entries.size(); ++i)
        if (name_of(entries[i].view()) == name) return i;
    return kNotThere;
}

Result<> set(Vector<String>& entries, std::string_view entry) {
    const size_t at = find(entries, name_of(entry));
    String copy = TRY(String::create(entry));
    if (at == kNotThere) return entries.push_back(std::move(copy));
    entries[at] = std::move(copy);
    return {};
}

// Takes the text up to `separator`, or all of it.
std::string_view take(std::string_view& text, char separator) {
    const size_t at = text.find(separator);
    const std::string_view part = text.substr(0, at);
    text.remove_prefix(at == text.npos ? text.size() : at + 1);
    return part;
}

// passwd(5): name:password:UID:GID:GECOS:directory:shell.
bool is_of(std::string_view line, uint32_t uid, std::string_view& home) {
    take(line, ':');
    take(line, ':');
    const std::string_view number = take(line, ':');
    uint64_t value = 0;
    for (char digit : number) {
        if (digit < '0' || digit > '9' || value > UINT32_MAX) return false;
        value = value * 10 + static_cast<uint64_t>(digit - '0');
    }
    take(line, ':');
    take(line, ':');
    home = take(line, ':');
    return !number.empty() && value == uid;
}

class Lines {
  public:
    // file: null: there are none.
    explicit Lines(RefPtr<vfs::File> file) : file_(std::move(file)) {}
    // Cut where they are longer than the buffer. False: there are no more.
    bool next(std::string_view& line) {
        size_t end = rest().find('\n');
        if (end == std::string_view::npos) {
            refill();
            end = rest().find('\n');
        }
        if (rest().empty()) return false;
        line = rest().substr(0, end);
        begin_ += end == std::string_view::npos ? line.size() : end + 1;
        return true;
    }

  private:
    std::string_view rest() const { return {buffer_ + begin_, end_ - begin_}; }
    void refill() {
        memmove(buffer_, buffer_ + begin_, end_ - begin_);
        end_ -= begin_, begin_ = 0;
        while (file_ && end_ < sizeof buffer_ && position_ < kMostOfPasswd) {
            // SAFETY: characters as bytes.
            mm::IoBuffer space =
                mm::IoBuffer::kernel({reinterpret_cast<std::byte*>(buffer_) + end_, sizeof buffer_ - end_});
            const auto got = file_->read_at(space, position_);
            if (got.is_error() || got.value() == 0) break;
            end_ += got.value(), position_ += got.value();
        }
    }
    RefPtr<vfs::File> file_;
    char buffer_[2048];
    size_t begin_ = 0, end_ = 0;
    uint64_t position_ = 0;
};

Result<RefPtr<vfs::File>> open_passwd(task::Task& task) {
    auto root = TRY(auth::kernel_credentials());
    const vfs::Caller caller{task.fs(), *root};
    const vfs::Path path = TRY(vfs::walk(caller, task.fs().root, "/etc/passwd", vfs::Follow::kYes));
    if (path.inode().type() != vfs::kModeRegular) return Errno::kINVAL;
    return vfs::open_found(caller, path, vfs::kORdonly);
}

// "/" where the user has none.
Result<> set_home(task::Task& task, uint32_t uid, Vector<String>& entries) {
    String entry = TRY(String::create("HOME="));
    std::string_view line, home;
    bool found = false;
    auto file = open_passwd(task);
    Lines lines(file.is_ok() ? file.release_value() : RefPtr<vfs::File>());
    while (!found && lines.next(line)) found = is_of(line, uid, home);
    TRY(entry.append(found && !home.empty() ? home : "/"));
    return set(entries, entry.view());
}

}  // namespace

bool make_environment(task::Task& task, const ProcessSpec& spec, task::ExecRequest& request, Failure& failure) {
    Vector<String>& entries = request.environment;
    for (std::string_view entry : spec.env) {
        if (const size_t equals = entry.find('='); equals == 0 || equals == entry.npos) {
            format_to(failure.text, "invalid environment variable \"{}\": {}; write it as NAME=value in process.env",
                      entry, equals == 0 ? std::string_view("its name is empty") : std::string_view("it has no \"=\""));
            return false;
        }
        if (auto added = set(entries, entry); added.is_error())
            return fail(failure, "cannot take", "process.env", added.error(), "make it shorter");
    }
    const size_t home = find(entries, "HOME");
    if (home != kNotThere && !value_of(entries[home].view()).empty()) return true;
    if (auto added = set_home(task, spec.uid, entries); added.is_error())
        return fail(failure, "cannot set", "HOME", added.error(), "set it in process.env");
    return true;
}

std::string_view search_path(const task::ExecRequest& request) {
    const size_t at = find(request.environment, "PATH");
    return at == kNotThere ? std::string_view() : value_of(request.environment[at].view());
}

}  // namespace kvmsbx::control
