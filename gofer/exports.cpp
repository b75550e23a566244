// The mount tree of the gofer: a tmpfs with "root" and "mounts/N", and nothing else of the host's.
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/host/submounts.hpp"
#include "gofer/confine.hpp"
#include "gofer/log.hpp"

// The mount API of Linux 5.2 and 5.12; <sys/mount.h> cannot be included together with <linux/mount.h> in glibc 2.36.
extern "C" {
int mount(const char*, const char*, const char*, unsigned long, const void*) noexcept;
int umount2(const char*, int) noexcept;
}

namespace kvmsbx::gofer {
namespace {

constexpr int kUmountDetach = 2;                                       // MNT_DETACH
constexpr unsigned long kPrivate = 1UL << 18, kRecursive = 1UL << 14;  // MS_PRIVATE, MS_REC

struct Source {
    BindMount mount;
    std::string field;  // of config.json, for messages
    OwnerTable owners = {};
};

std::vector<Source> sources_of(const GoferSpec& spec, const IdMaps& own) {
    BindMount root;
    root.index = Export::kRootIndex;
    root.source = spec.root_path;
    root.recursive = true;  // it may have file systems of its own (an engine's layers)
    root.readonly = root.readonly_below = spec.root_readonly;
    std::vector<Source> sources{{root, "root.path"}};
    for (const BindMount& bind : spec.binds)
        sources.push_back({bind, "mounts[" + std::to_string(bind.index) + "].source"});
    for (Source& source : sources) {
        const IdMaps &container = spec.container_maps, &mount = source.mount.maps;
        source.owners = {IdTable::create(container.uids, mount.uids, own.uids),
                         IdTable::create(container.gids, mount.gids, own.gids)};
    }
    return sources;
}

bool fail(const Source& source, const char* what) {
    log.error_text(std::string(what) + " " + source.mount.source + because() + "; check " + source.field +
                   " in config.json");
    return false;
}

host::Fd clone_tree(const std::string& path, unsigned recursive) {
    return host::Fd(static_cast<int>(
        syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive)));
}

bool set_attributes(const host::Fd& tree, uint64_t attributes, unsigned recursive) {
    mount_attr attr{};
    attr.attr_set = attributes;
    attr.propagation = kPrivate;
    return syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH | recursive, &attr, sizeof attr) == 0;
}

// A detached copy of the mount at the source, without the powers that serving files does not need.
bool clone_mount(const Source& source, host::Fd& tree) {
    const BindMount& mount = source.mount;
    unsigned recursive = mount.recursive ? AT_RECURSIVE : 0;
    tree = clone_tree(mount.source, recursive);
    if (!tree.is_open() && errno == EINVAL && recursive == 0) {
        // In a user namespace what lies under a mount must not be uncovered: the mounts on it come along.
        recursive = AT_RECURSIVE;
        tree = clone_tree(mount.source, recursive);
    }
    if (!tree.is_open()) return fail(source, "cannot open");
    const uint64_t readonly = mount.readonly ? MOUNT_ATTR_RDONLY : 0;
    constexpr uint64_t kPowerless = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    if (!set_attributes(tree, kPowerless | (mount.readonly_below ? readonly : 0), recursive) ||
        !set_attributes(tree, kPowerless | readonly, 0))
        return fail(source, "cannot set mount attributes of");
    return true;
}

// Whether the server itself refuses each change. Where only the top mount is read-only the kernel does it.
bool is_readonly_whole(const BindMount& mount) {
    return mount.readonly && (mount.readonly_below || !mount.recursive || !host::has_submounts(mount.source));
}

bool is_directory(int fd) {
    struct stat st;
    return fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && S_ISDIR(st.st_mode);
}

// Puts the tree at `name` beneath the tmpfs and opens it there.
bool attach(int tmpfs, const std::string& name, const host::Fd& tree, host::Fd& opened) {
    if (is_directory(tree.get())) {
        if (mkdirat(tmpfs, name.c_str(), 0700) != 0) return false;
    } else {
        host::Fd file(openat(tmpfs, name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
        if (!file.is_open()) return false;
    }
    if (syscall(SYS_move_mount, tree.get(), "", tmpfs, name.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) return false;
    opened = host::Fd(openat(tmpfs, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    return opened.is_open();
}

host::Fd make_tmpfs() {
    host::Fd context(static_cast<int>(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
    if (!context.is_open() || syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, "mode", "0700", 0) != 0 ||
        syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
        return {};
    return host::Fd(static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC,
                                             MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)));
}

// Makes the tmpfs the root and gets rid of the old one (pivot_root(2), "pivot_root(".", ".")"). A root that is the
// kernel's initramfs cannot be pivoted away from: there the tmpfs covers it, and nothing that leads around it is left
// open (the capability for chroot goes soon).
bool enter(int tmpfs) {
    // Any directory will do as the place of the new root; it is only there in this namespace.
    if (syscall(SYS_move_mount, tmpfs, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0 || fchdir(tmpfs) != 0)
        return false;
    if (syscall(SYS_pivot_root, ".", ".") == 0) return umount2(".", kUmountDetach) == 0 && chdir("/") == 0;
    return errno == EINVAL && chroot(".") == 0 && chdir("/") == 0;
}

bool build_root(const std::vector<Source>& sources, std::vector<Export>& exports) {
    if (mount("", "/", nullptr, kPrivate | kRecursive, nullptr) != 0)
        return log.error_text("cannot make the mounts private" + because()), false;
    std::vector<host::Fd> trees(sources.size());
    std::vector<bool> readonly;
    for (size_t i = 0; i < sources.size(); i++) {
        readonly.push_back(is_readonly_whole(sources[i].mount));
        if (!clone_mount(sources[i], trees[i])) return false;
    }
    host::Fd tmpfs = make_tmpfs();
    if (!tmpfs.is_open()) return log.error_text("cannot make a tmpfs for the private root" + because()), false;
    // move_mount() into a mount that is not attached yet needs Linux 6.15: enter first.
    if (!enter(tmpfs.get())) return log.error_text("cannot enter the private root" + because()), false;
    for (size_t i = 0; i < sources.size(); i++) {
        const int index = sources[i].mount.index;
        Export tree{index, {}, readonly[i], sources[i].owners};
        std::string name = index == Export::kRootIndex ? "root" : "mount" + std::to_string(index);
        if (!attach(tmpfs.get(), name, trees[i], tree.fd)) return fail(sources[i], "cannot mount");
        exports.push_back(std::move(tree));
    }
    return true;
}

}  // namespace

bool open_exports(const GoferSpec& spec, const ExportOptions& options, std::vector<Export>& exports,
                  host::Fd& proc_self_fd) {
    proc_self_fd = host::Fd(open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!proc_self_fd.is_open())
        return log.error_text("cannot open /proc/self/fd" + because() + "; mount /proc"), false;
    std::vector<Source> sources = sources_of(spec, options.own_maps);
    if (options.setup_root) return build_root(sources, exports);
    for (const Source& source : sources) {
        const BindMount& mount = source.mount;
        Export tree{mount.index, host::Fd(open(mount.source.c_str(), O_PATH | O_CLOEXEC)), mount.readonly,
                    source.owners};
        if (!tree.fd.is_open()) return fail(source, "cannot open");
        exports.push_back(std::move(tree));
    }
    return true;
}

}  // namespace kvmsbx::gofer
