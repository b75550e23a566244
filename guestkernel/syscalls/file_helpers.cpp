#include "guestkernel/syscalls/file_helpers.hpp"

namespace kvmsbx::syscalls {

Result<RefPtr<vfs::File>> file_or_path_of(Task& task, int fd) { return task.files().get(fd); }

Result<RefPtr<vfs::File>> file_of(Task& task, int fd) {
    RefPtr<vfs::File> file = TRY(task.files().get(fd));
    if (file->flags & vfs::kOPath) return Errno::kBADF;
    return file;
}

Result<vfs::Path> base_of(Task& task, int directory, std::string_view path, uint32_t resolve) {
    const bool absolute = !path.empty() && path.front() == '/' && !(resolve & vfs::kResolveInRoot);
    if (directory == vfs::kAtFdcwd || absolute) return vfs::Path(task.fs().cwd);
    RefPtr<vfs::File> file = TRY(task.files().get(directory));
    const vfs::Path* base = file->path();
    if (!base) return Errno::kNOTDIR;
    return vfs::Path(*base);
}

Result<NameAt> name_at(Task& task, int directory, UserString path, uint32_t resolve) {
    NameAt name;
    name.text = TRY(path.load(task.space()));
    name.base = TRY(base_of(task, directory, name.text, resolve));
    return name;
}

Result<vfs::Path> path_at(Task& task, int directory, UserString path, uint64_t flags, vfs::Follow follow) {
    const NameAt name = TRY(name_at(task, directory, path));
    if (name.text.empty() && (flags & kAtEmptyPath)) return vfs::Path(name.base);
    return vfs::walk(task.caller(), name.base, name.text, follow);
}

Result<int64_t> install(Task& task, RefPtr<vfs::File> file, bool close_on_exec) {
    return int64_t{TRY(task.files().install(std::move(file), close_on_exec, task.limit(task::kRlimitNofile)))};
}

}  // namespace kvmsbx::syscalls
