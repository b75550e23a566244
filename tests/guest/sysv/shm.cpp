// System V shared memory.
#include "tests/guest/sysv/sysv_test.hpp"

using namespace guest;

namespace {

constexpr key_t kKey = 0x5eed01;

shmid_ds status_of(int id) {
    shmid_ds status{};
    OK(shmctl(id, IPC_STAT, &status));
    return status;
}

int new_segment(size_t size = 4096) { return OK(shmget(IPC_PRIVATE, size, IPC_CREAT | 0600)); }

// The attachments as of /proc/sysvipc/shm.
bool listed(int id) {
    char text[8192], wanted[32];
    CHECK_GT(read_file("/proc/sysvipc/shm", text, sizeof text), 0);
    snprintf(wanted, sizeof wanted, " %10d ", id);
    return strstr(text, wanted) != nullptr;
}

}  // namespace

TEST("shm_is_zero_and_keeps_what_is_written") {
    int id = new_segment(8192);
    char* a = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    for (int i = 0; i < 8192; ++i) CHECK_EQ(a[i], 0);
    strcpy(a + 5000, "kept");
    OK(shmdt(a));
    char* b = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    CHECK_STREQ(b + 5000, "kept");
}

TEST("shm_two_attachments_see_one_memory") {
    int id = new_segment();
    char* a = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    char* b = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    CHECK_NE(a, b);
    a[7] = 'x';
    CHECK_EQ(b[7], 'x');
    CHECK_EQ(status_of(id).shm_nattch, 2);
}

TEST("shm_fork_inherits_attachments") {
    int id = new_segment();
    auto* word = static_cast<volatile int*>(OK(shmat(id, nullptr, 0)));
    pid_t pid = OK(fork());
    if (pid == 0) {
        *word = 42;
        _exit(status_of(id).shm_nattch == 2 ? 0 : 1);
    }
    CHECK_EXITED(finish(pid), 0);
    CHECK_EQ(*word, 42);
    CHECK_EQ(status_of(id).shm_nattch, 1);
}

TEST("shm_exit_detaches") {
    int id = new_segment();
    CHECK_EXITED(run_child([id] { OK(shmat(id, nullptr, 0)); }), 0);
    CHECK_EQ(status_of(id).shm_nattch, 0);
    CHECK_NE(status_of(id).shm_dtime, 0);
}

TEST("shm_exec_detaches") {
    int id = new_segment();
    CHECK_EXITED(run_child([id] {
                     OK(shmat(id, nullptr, 0));
                     execl("/bin/true", "true", nullptr);
                     _exit(3);
                 }),
                 0);
    CHECK_EQ(status_of(id).shm_nattch, 0);
}

TEST("shm_key_finds_the_segment") {
    int id = OK(shmget(kKey, 4096, IPC_CREAT | 0600));
    CHECK_EQ(OK(shmget(kKey, 4096, 0)), id);
    CHECK_EQ(OK(shmget(kKey, 0, 0600)), id);
    CHECK_EQ(OK(shmget(kKey, 100, IPC_CREAT)), id);
    OK(shmctl(id, IPC_RMID, nullptr));
    CHECK_ERRNO(shmget(kKey, 4096, 0), ENOENT);
}

TEST("shm_get_errors") {
    CHECK_ERRNO(shmget(kKey, 4096, 0600), ENOENT);
    CHECK_ERRNO(shmget(kKey, 0, IPC_CREAT | 0600), EINVAL);
    CHECK_ERRNO(shmget(kKey, ~size_t{0}, IPC_CREAT | 0600), EINVAL);
    int id = OK(shmget(kKey, 4096, IPC_CREAT | 0600));
    CHECK_ERRNO(shmget(kKey, 4096, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
    CHECK_ERRNO(shmget(kKey, 4097, 0600), EINVAL);
    OK(shmctl(id, IPC_RMID, nullptr));
}

TEST("shm_without_huge_pages_is_refused") {
    CHECK_ERRNO(shmget(IPC_PRIVATE, 2 << 20, IPC_CREAT | SHM_HUGETLB | 0600), ENOMEM);
}

TEST("shm_removed_while_attached_lives_on") {
    int id = OK(shmget(kKey, 4096, IPC_CREAT | 0640));
    char* a = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    OK(shmctl(id, IPC_RMID, nullptr));
    a[0] = 'y';
    shmid_ds status = status_of(id);
    CHECK_EQ(status.shm_perm.mode, 01640);
    CHECK_EQ(status.shm_perm.__key, IPC_PRIVATE);
    CHECK_ERRNO(shmget(kKey, 4096, 0), ENOENT);
    char* b = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    CHECK_EQ(b[0], 'y');
    OK(shmdt(a));
    CHECK(listed(id));
    OK(shmdt(b));
    CHECK(!listed(id));
    CHECK_ERRNO(shmctl(id, IPC_STAT, &status), EINVAL);
}

TEST("shm_removed_unattached_goes_at_once") {
    int id = new_segment();
    CHECK(listed(id));
    OK(shmctl(id, IPC_RMID, nullptr));
    CHECK(!listed(id));
    CHECK_ERRNO(shmat(id, nullptr, 0), EINVAL);
    CHECK_ERRNO(shmctl(id, IPC_RMID, nullptr), EINVAL);
}

TEST("shm_ids_are_not_used_again_soon") {
    int first = new_segment();
    OK(shmctl(first, IPC_RMID, nullptr));
    int second = new_segment();
    CHECK_NE(first, second);
}

TEST("shm_attach_at_an_address") {
    int id = new_segment(8192);
    char* room = static_cast<char*>(OK(mmap(nullptr, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    CHECK_ERRNO(shmat(id, room, 0), EINVAL);
    CHECK_ERRNO(shmat(id, room + 100, SHM_REMAP), EINVAL);
    CHECK_EQ(OK(shmat(id, room + 4096 + 100, SHM_RND | SHM_REMAP)), room + 4096);
    OK(munmap(room + 32768, 32768));
    CHECK_EQ(OK(shmat(id, room + 40960, 0)), room + 40960);
    CHECK_ERRNO(shmat(id, nullptr, SHM_REMAP), EINVAL);
    CHECK_EQ(status_of(id).shm_nattch, 2);
}

TEST("shm_readonly_attachment_cannot_be_written") {
    int id = new_segment();
    char* a = static_cast<char*>(OK(shmat(id, nullptr, SHM_RDONLY)));
    CHECK_EQ(trap_of([a] { *static_cast<volatile char*>(a) = 1; }).signo, SIGSEGV);
    CHECK_ERRNO(mprotect(a, 4096, PROT_READ | PROT_WRITE), EACCES);
}

TEST("shm_detach_errors") {
    int id = new_segment(8192);
    char* a = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    CHECK_ERRNO(shmdt(a + 1), EINVAL);
    CHECK_ERRNO(shmdt(a + 4096), EINVAL);
    OK(shmdt(a));
    CHECK_ERRNO(shmdt(a), EINVAL);
    char* anonymous = static_cast<char*>(OK(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    CHECK_ERRNO(shmdt(anonymous), EINVAL);
}

TEST("shm_detach_takes_all_pieces") {
    int id = new_segment(4 * 4096);
    char* a = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    OK(mprotect(a + 4096, 4096, PROT_READ));
    CHECK_EQ(status_of(id).shm_nattch, 3);
    OK(shmdt(a));
    CHECK_EQ(status_of(id).shm_nattch, 0);
    CHECK_EQ(trap_of([a] { *static_cast<volatile char*>(a + 8192) = 1; }).signo, SIGSEGV);
}

TEST("shm_size_is_rounded_to_pages_in_memory_only") {
    int id = new_segment(100);
    CHECK_EQ(status_of(id).shm_segsz, 100);
    char* a = static_cast<char*>(OK(shmat(id, nullptr, 0)));
    a[4095] = 1;
    OK(shmdt(a));
}

TEST("shm_status_tells_processes_and_times") {
    time_t before = time(nullptr) - 1;
    int id = new_segment();
    shmid_ds status = status_of(id);
    CHECK_EQ(status.shm_cpid, getpid());
    CHECK_EQ(status.shm_lpid, 0);
    CHECK_EQ(status.shm_atime, 0);
    CHECK_EQ(status.shm_dtime, 0);
    CHECK_GE(status.shm_ctime, before);
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(shmdt(OK(shmat(id, nullptr, 0))));
        _exit(0);
    }
    CHECK_EXITED(finish(pid), 0);
    status = status_of(id);
    CHECK_EQ(status.shm_lpid, pid);
    CHECK_GE(status.shm_atime, before);
    CHECK_GE(status.shm_dtime, before);
}

TEST("shm_permissions_of_others") {
    int secret = new_segment(), open_one = OK(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0644));
    CHECK_EXITED(run_child([=] {
                     become_user(1000);
                     CHECK_ERRNO(shmat(secret, nullptr, SHM_RDONLY), EACCES);
                     OK(shmat(open_one, nullptr, SHM_RDONLY));
                     CHECK_ERRNO(shmat(open_one, nullptr, 0), EACCES);
                     shmid_ds status;
                     CHECK_ERRNO(shmctl(secret, IPC_STAT, &status), EACCES);
                     CHECK_ERRNO(shmctl(open_one, IPC_RMID, nullptr), EPERM);
                     status = status_of(open_one);
                     CHECK_ERRNO(shmctl(open_one, IPC_SET, &status), EPERM);
                     CHECK_ERRNO(shmctl(open_one, SHM_LOCK, nullptr), EPERM);
                 }),
                 0);
}

TEST("shm_get_by_key_checks_the_asked_access") {
    int id = OK(shmget(kKey, 4096, IPC_CREAT | 0604));
    CHECK_EXITED(run_child([=] {
                     become_user(1000);
                     CHECK_EQ(OK(shmget(kKey, 4096, 0004)), id);
                     CHECK_ERRNO(shmget(kKey, 4096, 0006), EACCES);
                 }),
                 0);
    OK(shmctl(id, IPC_RMID, nullptr));
}

TEST("shm_set_changes_owner_and_mode") {
    int id = new_segment();
    shmid_ds status = status_of(id);
    status.shm_perm.uid = 1000;
    status.shm_perm.mode = 07444;
    OK(shmctl(id, IPC_SET, &status));
    status = status_of(id);
    CHECK_EQ(status.shm_perm.uid, 1000);
    CHECK_EQ(status.shm_perm.cuid, 0);
    CHECK_EQ(status.shm_perm.mode, 0444);
    CHECK_EXITED(run_child([id] {
                     become_user(1000);
                     OK(shmctl(id, IPC_RMID, nullptr));
                 }),
                 0);
}

TEST("shm_lock_is_a_mark") {
    int id = new_segment();
    OK(shmctl(id, SHM_LOCK, nullptr));
    CHECK_EQ(status_of(id).shm_perm.mode, 02600);
    OK(shmctl(id, SHM_UNLOCK, nullptr));
    CHECK_EQ(status_of(id).shm_perm.mode, 0600);
}

TEST("shm_stat_by_index") {
    int id = new_segment();
    shm_info usage{};
    int highest = OK(shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&usage)));
    CHECK_GE(usage.used_ids, 1);
    bool found = false;
    for (int index = 0; index <= highest; ++index) {
        shmid_ds status;
        if (shmctl(index, SHM_STAT, &status) == id) found = true;
    }
    CHECK(found);
    CHECK_EXITED(run_child([=] {
                     become_user(1000);
                     shmid_ds status;
                     CHECK_ERRNO(shmctl(highest, SHM_STAT, &status), EACCES);
                     OK(shmctl(highest, 15 /* SHM_STAT_ANY */, &status));
                 }),
                 0);
}

TEST("shm_limits_are_linux_defaults") {
    shminfo limits{};
    OK(shmctl(0, IPC_INFO, reinterpret_cast<shmid_ds*>(&limits)));
    CHECK_EQ(limits.shmmni, 4096);
    CHECK_EQ(limits.shmmin, 1);
    CHECK_EQ(limits.shmmax, ~0UL - (1UL << 24));
    CHECK_EQ(limits.shmall, ~0UL - (1UL << 24));
    char text[64];
    CHECK_GT(read_file("/proc/sys/kernel/shmmax", text, sizeof text), 0);
    CHECK_STREQ(text, "18446744073692774399\n");
    CHECK_GT(read_file("/proc/sys/kernel/shmmni", text, sizeof text), 0);
    CHECK_STREQ(text, "4096\n");
}

namespace {

constexpr const char* kForced = "/proc/sys/kernel/shm_rmid_forced";

bool set_forced(const char* value) {
    const int fd = open(kForced, O_WRONLY);
    const bool done = fd >= 0 && write(fd, value, strlen(value)) == static_cast<ssize_t>(strlen(value));
    close(fd);
    return done;
}

// Runs the body with kernel.shm_rmid_forced set, which does not outlive a body that fails.
template <typename Body>
void with_forced(Body body) {
    if (access(kForced, W_OK) < 0) SKIP("sysctls are read-only here");
    CHECK(set_forced("1"));
    const int status = run_child(body);
    CHECK(set_forced("0"));
    CHECK_EXITED(status, 0);
}

bool is_there(int id) {
    shmid_ds status;
    return shmctl(id, IPC_STAT, &status) == 0;
}

}  // namespace

TEST("shm_rmid_forced_destroys_what_nobody_has_attached") {
    with_forced([] {
        const int id = new_segment();
        CHECK(is_there(id));  // its creator lives
        void* at = OK(shmat(id, nullptr, 0));
        OK(shmdt(at));
        CHECK(!is_there(id));
    });
}

TEST("shm_rmid_forced_destroys_at_the_creators_end") {
    with_forced([] {
        int ids[2];
        OK(pipe(ids));
        CHECK_EXITED(run_child([&] {
                         const int made[2] = {new_segment(), new_segment()};
                         OK(shmat(made[1], nullptr, 0));
                         CHECK_EQ(write(ids[1], made, sizeof made), static_cast<ssize_t>(sizeof made));
                     }),
                     0);
        int made[2];
        CHECK_EQ(read(ids[0], made, sizeof made), static_cast<ssize_t>(sizeof made));
        CHECK(!is_there(made[0]) && !is_there(made[1]));
    });
}

TEST("shm_rmid_forced_leaves_what_is_attached") {
    with_forced([] {
        int ends[2];
        OK(pipe(ends));
        const pid_t creator = OK(fork());
        if (creator == 0) {
            const int id = new_segment();
            CHECK_EQ(write(ends[1], &id, sizeof id), static_cast<ssize_t>(sizeof id));
            for (;;) pause();
        }
        int id;
        CHECK_EQ(read(ends[0], &id, sizeof id), static_cast<ssize_t>(sizeof id));
        void* at = OK(shmat(id, nullptr, 0));
        OK(kill(creator, SIGKILL));
        finish(creator);
        CHECK(is_there(id));
        OK(shmdt(at));
        CHECK(!is_there(id));
    });
}

TEST("shm_rmid_forced_destroys_orphans_when_it_is_set") {
    if (access(kForced, W_OK) < 0) SKIP("sysctls are read-only here");
    int ends[2];
    OK(pipe(ends));
    CHECK_EXITED(run_child([&] {
                     const int id = new_segment();
                     CHECK_EQ(write(ends[1], &id, sizeof id), static_cast<ssize_t>(sizeof id));
                 }),
                 0);
    int id;
    CHECK_EQ(read(ends[0], &id, sizeof id), static_cast<ssize_t>(sizeof id));
    CHECK(is_there(id));
    with_forced([&] { CHECK(!is_there(id)); });
    CHECK(!set_forced("2"));
}

TEST("shm_bad_command_and_pointer") {
    int id = new_segment();
    CHECK_ERRNO(shmctl(id, 77, nullptr), EINVAL);
    CHECK_ERRNO(shmctl(id, -1, nullptr), EINVAL);
    CHECK_ERRNO(shmctl(-1, IPC_RMID, nullptr), EINVAL);
    CHECK_ERRNO(shmctl(id, IPC_STAT, reinterpret_cast<shmid_ds*>(8)), EFAULT);
    CHECK_ERRNO(shmctl(id, IPC_SET, reinterpret_cast<shmid_ds*>(8)), EFAULT);
}

TEST("shm_maps_shows_the_key") {
    int id = OK(shmget(0x1234abcd, 4096, IPC_CREAT | 0600));
    OK(shmat(id, nullptr, 0));
    static char text[65536];
    CHECK_GT(read_file("/proc/self/maps", text, sizeof text), 0);
    CHECK(strstr(text, "/SYSV1234abcd (deleted)"));
    OK(shmctl(id, IPC_RMID, nullptr));
}

TEST("shm_proc_line_format") {
    int id = OK(shmget(0x77, 5000, IPC_CREAT | 0640));
    static char text[8192];
    CHECK_GT(read_file("/proc/sysvipc/shm", text, sizeof text), 0);
    CHECK(strncmp(text, "       key      shmid perms                  size  cpid  lpid nattch   uid", 70) == 0);
    char wanted[100];
    snprintf(wanted, sizeof wanted, "%10d %10d  %4o %21u %5d %5u  %5u %5u", 0x77, id, 0640, 5000, getpid(), 0, 0, 0);
    CHECK(strstr(text, wanted));
    OK(shmctl(id, IPC_RMID, nullptr));
}
