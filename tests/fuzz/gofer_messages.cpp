// The gofer's server on a folder of its own: the input is a stream of requests of a client that has attached (fid 0 the
// root, fid 1 a read-only bind mount). After each input the folder beside the root is as it was, and so is the
// read-only one.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "gofer/server.hpp"

namespace {

using namespace kvmsbx;
using namespace kvmsbx::gofer;
namespace fs = std::filesystem;

void require(bool condition) {
    if (!condition) abort();
}

struct Folder {
    Folder() {
        char path[] = "/tmp/gofer-fuzz-XXXXXX";
        base = mkdtemp(path);
        umask(0);
        fs::create_directory(base / "outside");
        fs::create_directory(base / "readonly");
        std::ofstream(base / "outside/secret") << "secret";
        std::ofstream(base / "readonly/file") << "file";
    }
    ~Folder() { fs::remove_all(base); }

    void refill() {
        fs::remove_all(base / "root");
        fs::create_directories(base / "root/dir/sub");
        std::ofstream(base / "root/file") << "contents";
        fs::create_symlink(base / "outside", base / "root/absolute");
        fs::create_symlink("../outside", base / "root/relative");
        mkfifo((base / "root/fifo").c_str(), 0666);
    }
    void check() const {
        for (auto [folder, name, text] :
             {std::tuple{"outside", "secret", "secret"}, std::tuple{"readonly", "file", "file"}}) {
            require(std::distance(fs::directory_iterator(base / folder), {}) == 1);
            struct stat st {};
            require(stat((base / folder / name).c_str(), &st) == 0 && st.st_nlink == 1 && st.st_uid == geteuid() &&
                    (st.st_mode & 07777) == 0666);
            std::string found;
            std::ifstream(base / folder / name) >> found;
            require(found == text);
        }
    }
    host::Fd open_path(const char* name) const { return host::Fd(open((base / name).c_str(), O_PATH | O_CLOEXEC)); }

    fs::path base;
};

template <typename T>
void send(Server& server, const T& request) {
    uint8_t bytes[256], reply[256];
    uint32_t size = p9::encode(bytes, 0, request).value();
    require(server.handle(std::span(bytes).first(size), reply) != 0 && reply[4] == T::kType + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static Folder folder;
    static std::vector<uint8_t> reply(0x21000);
    folder.refill();
    ServerConfig config;
    config.exports.push_back({Export::kRootIndex, folder.open_path("root"), false});
    config.exports.push_back({0, folder.open_path("readonly"), true});
    config.proc_self_fd = host::Fd(open("/proc/self/fd", O_PATH | O_CLOEXEC));
    char text[300];
    config.trace = [&](std::string_view line) { memcpy(text, line.data(), std::min(line.size(), sizeof text)); };
    auto server = std::make_unique<Server>(std::move(config));
    send(*server, p9::Tversion{0x21000, p9::kVersionExtended});
    send(*server, p9::Tattach{.fid = 0, .aname = ""});
    send(*server, p9::Tattach{.fid = 1, .aname = "0"});

    std::span<const uint8_t> rest(data, size);
    while (!rest.empty()) {
        auto header = p9::decode_header(rest);
        size_t length = header.is_ok() ? header->size : rest.size();
        std::vector<uint8_t> request(rest.begin(), rest.begin() + static_cast<long>(length));
        rest = rest.subspan(length);
        uint32_t written = server->handle(request, reply);
        if (written == 0) continue;
        p9::Header answer = p9::decode_header(std::span(reply).first(written)).value();
        require(answer.size == written && answer.type % 2 == 1);
    }
    server.reset();
    folder.check();
    return 0;
}
