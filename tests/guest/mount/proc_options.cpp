// What a mount of proc hides: hidepid=, gid=, subset= (proc(5)).
#include <dirent.h>

#include "tests/guest/mount/mount_test.hpp"

using namespace guest;
using namespace mounts;

namespace {

std::string mount_proc(const char* options) {
    const std::string base = base_mount();
    make_directory("proc");
    OK(mount("proc", "proc", "proc", 0, options));
    return base + "/proc";
}

bool lists(const std::string& folder, const std::string& name) {
    DIR* directory = opendir(folder.c_str());
    CHECK(directory != nullptr);
    bool found = false;
    while (const dirent* entry = readdir(directory)) found |= entry->d_name == name;
    closedir(directory);
    return found;
}

std::string own(const std::string& proc) { return proc + "/" + std::to_string(getpid()); }

// As another user than the others', in a group of its own.
template <typename Body>
void as_user(Body body) {
    CHECK_EXITED(run_child([&] {
                     drop_privileges();
                     body();
                 }),
                 0);
}

int open_error(const std::string& path) { return open(path.c_str(), O_RDONLY) < 0 ? errno : 0; }

}  // namespace

TEST("proc_without_options_hides_nothing") {
    const std::string proc = mount_proc(nullptr);
    as_user([&] {
        CHECK(lists(proc, "1"));
        CHECK_EQ(open_error(proc + "/1/stat"), 0);
    });
}

TEST("proc_hidepid_1_closes_others") {
    for (const char* option : {"hidepid=1", "hidepid=noaccess"}) {
        const std::string proc = mount_proc(option);
        CHECK(info_of(proc).find("hidepid=noaccess") != std::string::npos);
        as_user([&] {
            CHECK(lists(proc, "1"));
            struct stat status;
            OK(stat((proc + "/1").c_str(), &status));
            CHECK_EQ(open_error(proc + "/1/stat"), EPERM);
            CHECK_EQ(open_error(proc + "/1"), EPERM);
            CHECK_EQ(open_error(own(proc) + "/stat"), 0);
            CHECK_EQ(open_error(proc + "/uptime"), 0);
        });
        CHECK_EQ(open_error(proc + "/1/stat"), 0);
        OK(chdir("/"));
    }
}

TEST("proc_hidepid_2_hides_others") {
    for (const char* option : {"hidepid=2", "hidepid=invisible"}) {
        const std::string proc = mount_proc(option);
        CHECK(info_of(proc).find("hidepid=invisible") != std::string::npos);
        as_user([&] {
            CHECK(!lists(proc, "1"));
            CHECK(!exists(proc + "/1"));
            CHECK_EQ(open_error(proc + "/1/stat"), ENOENT);
            CHECK(lists(proc, std::to_string(getpid())));
            CHECK_EQ(open_error(own(proc) + "/stat"), 0);
            CHECK_EQ(open_error(proc + "/self/stat"), 0);
        });
        CHECK(lists(proc, "1"));
        OK(chdir("/"));
    }
}

TEST("proc_gid_opens_for_a_group") {
    const std::string proc = mount_proc("hidepid=2,gid=1000");
    CHECK(info_of(proc).find("gid=1000,hidepid=invisible") != std::string::npos);
    as_user([&] { CHECK(lists(proc, "1")); });
}

TEST("proc_ptraceable_asks_ptrace_alone") {
    const std::string proc = mount_proc("hidepid=ptraceable,gid=1000");
    as_user([&] {
        CHECK(!lists(proc, "1"));
        CHECK_EQ(open_error(own(proc) + "/stat"), 0);
    });
}

TEST("proc_subset_is_processes_alone") {
    const std::string proc = mount_proc("subset=pid");
    CHECK(info_of(proc).find("subset=pid") != std::string::npos);
    CHECK(lists(proc, "1") && lists(proc, "self") && lists(proc, "thread-self"));
    CHECK(!lists(proc, "uptime") && !lists(proc, "sys"));
    CHECK_EQ(open_error(proc + "/uptime"), ENOENT);
    CHECK_EQ(open_error(proc + "/sys"), ENOENT);
    CHECK_EQ(open_error(proc + "/self/stat"), 0);
}

TEST("proc_options_change_by_remount_and_for_one_mount") {
    const std::string proc = mount_proc("hidepid=2");
    OK(mount(nullptr, "proc", nullptr, MS_REMOUNT, "hidepid=0"));
    as_user([&] { CHECK(lists(proc, "1")); });
    make_directory("other");
    OK(mount("proc", "other", "proc", 0, "hidepid=2"));
    as_user([&] {
        CHECK(lists(proc, "1"));
        CHECK(!lists("other", "1"));
    });
}

TEST("proc_options_that_are_wrong") {
    base_mount();
    make_directory("proc");
    for (const char* wrong : {"hidepid=3", "hidepid=5", "hidepid=some", "subset=net", "gid=x", "color=blue"})
        CHECK_ERRNO(mount("proc", "proc", "proc", 0, wrong), EINVAL);
}
