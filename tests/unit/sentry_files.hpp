#pragma once
// Files of the Sentry without a sandbox: a root to walk from, a caller, and short names for what the tests do.
#include <gtest/gtest.h>

#include <string>

#include "guestkernel/fs/tmpfs.hpp"
#include "guestkernel/platform/test/machine.hpp"
#include "guestkernel/vfs/attributes.hpp"
#include "guestkernel/vfs/fd_table.hpp"
#include "guestkernel/vfs/file_system.hpp"
#include "guestkernel/vfs/namei.hpp"
#include "guestkernel/vfs/path.hpp"

namespace kvmsbx::vfs {

enum class Access : bool { kExclusive, kShared };  // of 9p

class Files {
  public:
    explicit Files(std::string_view type = "tmpfs", std::string_view source = "", Access access = Access::kExclusive) {
        static const bool registered = register_file_system("tmpfs", fs::make_tmpfs, fs::kTmpfsOptions).is_ok();
        EXPECT_TRUE(registered);
        credentials = make_ref<auth::Credentials>().release_value();
        become_root();
        auto mounted = mount_root({type, source, "/", "mode=755", 0, access == Access::kShared});
        EXPECT_TRUE(mounted.is_ok());
        if (mounted.is_ok()) context = mounted.release_value();
    }
    void become_root() {
        credentials->fsuid = credentials->fsgid = 0;
        credentials->effective.bits = auth::CapabilitySet::kAll;
    }
    void become(uint32_t uid) {
        credentials->fsuid = credentials->fsgid = uid;
        credentials->effective.bits = 0;
    }
    Caller caller() const { return {*context, *credentials}; }
    const Path& root() const { return context->root; }

    Errno mkdir(std::string_view path, uint32_t mode = 0755) {
        return error(make_directory(caller(), context->cwd, path, mode));
    }
    Errno symlink(std::string_view target, std::string_view path) {
        return error(make_symlink(caller(), context->cwd, path, target));
    }
    Errno remove(std::string_view path) { return error(unlink(caller(), context->cwd, path)); }
    Errno rmdir(std::string_view path) { return error(remove_directory(caller(), context->cwd, path)); }
    Errno move(std::string_view from, std::string_view to, uint32_t flags = 0) {
        return error(rename(caller(), context->cwd, from, context->cwd, to, flags));
    }
    Errno link(std::string_view from, std::string_view to) {
        return error(make_link(caller(), find(from), context->cwd, to));
    }
    Errno walk_error(std::string_view path, Follow follow = Follow::kYes) {
        return error(walk(caller(), context->cwd, path, follow));
    }
    Path find(std::string_view path, Follow follow = Follow::kYes) {
        auto found = walk(caller(), context->cwd, path, follow);
        EXPECT_TRUE(found.is_ok()) << path << ": errno " << static_cast<int>(error(found));
        return found.is_ok() ? found.release_value() : Path(context->root);
    }
    Attributes stat(std::string_view path, Follow follow = Follow::kYes) {
        return find(path, follow).inode().attributes().release_value();
    }
    Result<RefPtr<File>> open(std::string_view path, uint32_t flags, uint32_t mode = 0644) {
        return vfs::open(caller(), context->cwd, path, flags, mode);
    }
    Errno open_error(std::string_view path, uint32_t flags) { return error(open(path, flags)); }
    void write_file(std::string_view path, std::string_view text, uint32_t flags = kOWronly | kOCreat | kOTrunc) {
        auto file = open(path, flags);
        ASSERT_TRUE(file.is_ok()) << path;
        EXPECT_EQ(write(*file.value(), text), text.size());
        EXPECT_TRUE(file.value()->flush().is_ok());
    }
    std::string read_file(std::string_view path) {
        auto file = open(path, kORdonly);
        return file.is_ok() ? read(*file.value(), 1 << 20) : "errno " + std::to_string(static_cast<int>(file.error()));
    }
    static size_t write(File& file, std::string_view text) {
        auto from = mm::IoBuffer::kernel_readonly(std::as_bytes(std::span(text)));
        return file.write(from).value_or(~size_t{0});
    }
    static std::string read(File& file, size_t most) {
        std::string text(most, '\0');
        auto to = mm::IoBuffer::kernel(std::as_writable_bytes(std::span(text)));
        text.resize(file.read(to).value_or(0));
        return text;
    }
    std::string list(std::string_view path) {
        struct Names final : DirectoryVisitor {
            std::string text;
            bool visit(const DirectoryEntry& entry) override {
                if (entry.name != "." && entry.name != "..") text += std::string(entry.name) + " ";
                return true;
            }
        } names;
        auto file = open(path, kORdonly | kODirectory);
        for (size_t before = 1; file.is_ok() && before != names.text.size();) {
            before = names.text.size();
            EXPECT_TRUE(file.value()->read_directory(names).is_ok());
        }
        return names.text;
    }
    template <typename T>
    static Errno error(const Result<T>& result) {
        return result.is_error() ? result.error() : Errno{};
    }

    RefPtr<auth::Credentials> credentials;
    RefPtr<FsContext> context;
};

inline constexpr Errno kNoError{};

// A test whose body runs in a Sentry thread.
#define SENTRY_TEST(suite, name)               \
    static void suite##_##name();              \
    TEST(suite, name) {                        \
        platform::test::Machine machine;       \
        machine.run([] { suite##_##name(); }); \
    }                                          \
    static void suite##_##name()

}  // namespace kvmsbx::vfs
