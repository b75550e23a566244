// Uses mappings of a file that is larger than the container's memory, and checks what it reads. Each page of the file
// begins and ends with its mark.
//   page_user make FILE MIB
//   page_user read FILE PASSES PROCESSES THREADS   all pages, forwards and backwards
//   page_user stay FILE                            all pages, beside a thread that looks at a few
//   page_user copy FILE                            private copies of some pages among the others
//   page_user write FILE                           all pages change through a shared mapping, twice
//   page_user hot FILE HOT_FILE                    a small file is used all the time beside a pass through the other
//   page_user lock FILE                            locked pages stay
//   page_user anonymous FILE MIB                   memory of the process's own takes the place of file pages
//   page_user synchronize FILE                     writes and fsync(2) twice, then sleeps
//   page_user lose FILE                            writes more than the disk can take: one fsync(2) tells, after munmap
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {
constexpr size_t kPage = 4096, kMiB = 1 << 20, kWords = kPage / 8;

[[noreturn]] void fail(const char* what, size_t page) {
    printf("%s, page %zu, %s\n", what, page, strerror(errno));
    fflush(stdout);
    _exit(1);
}

uint64_t mark(size_t page) { return page * 0x9e37'79b9'7f4a'7c15 + 1; }

struct Mapping {
    volatile uint64_t* words;
    size_t pages;
};

int open_file(const char* path, int flags) {
    const int fd = open(path, flags, 0644);
    if (fd < 0) fail(path, 0);
    return fd;
}

Mapping map_file(const char* path, int protection, int kind) {
    const int fd = open_file(path, protection & PROT_WRITE && kind == MAP_SHARED ? O_RDWR : O_RDONLY);
    struct stat info;
    if (fstat(fd, &info) < 0) fail("fstat", 0);
    const size_t size = static_cast<size_t>(info.st_size);
    void* memory = mmap(nullptr, size, protection, kind, fd, 0);
    if (memory == MAP_FAILED) fail("mmap", 0);
    close(fd);
    return {static_cast<volatile uint64_t*>(memory), size / kPage};
}

void check(const Mapping& mapping, size_t page, uint64_t wanted) {
    const volatile uint64_t* words = mapping.words + page * kWords;
    if (words[0] != wanted || words[kWords - 1] != wanted) fail("wrong content", page);
}

void set(const Mapping& mapping, size_t page, uint64_t value) {
    volatile uint64_t* words = mapping.words + page * kWords;
    words[0] = value;
    words[kWords - 1] = value;
}

int make(const char* path, size_t mib) {
    const int fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
    static uint64_t words[kMiB / 8];
    for (size_t page = 0; page < mib * kMiB / kPage;) {
        for (size_t at = 0; at < kMiB / 8; at += kWords, page++) words[at] = words[at + kWords - 1] = mark(page);
        if (write(fd, words, kMiB) != kMiB) fail("write", page);
    }
    return 0;
}

void read_all(const Mapping& mapping, size_t passes) {
    for (size_t pass = 0; pass < passes; pass++)
        for (size_t i = 0; i < mapping.pages; i++) {
            const size_t page = pass % 2 == 0 ? i : mapping.pages - 1 - i;
            check(mapping, page, mark(page));
        }
}

struct Reader {
    pthread_t thread;
    Mapping mapping;
    size_t passes;
};

// All threads of a process use one mapping.
void read_by_threads(const char* path, int kind, size_t passes, size_t threads) {
    static Reader readers[16];
    const Mapping mapping = map_file(path, PROT_READ, kind);
    for (size_t i = 0; i < threads; i++) {
        readers[i].mapping = mapping, readers[i].passes = passes + i % 2;
        const auto body = [](void* pointer) -> void* {
            const Reader& reader = *static_cast<Reader*>(pointer);
            read_all(reader.mapping, reader.passes);
            return nullptr;
        };
        if (pthread_create(&readers[i].thread, nullptr, body, &readers[i]) != 0) fail("pthread_create", i);
    }
    for (size_t i = 0; i < threads; i++) pthread_join(readers[i].thread, nullptr);
}

int read_file(const char* path, size_t passes, size_t processes, size_t threads) {
    for (size_t i = 0; i < processes; i++)
        if (fork() == 0) {
            read_by_threads(path, i % 2 == 0 ? MAP_SHARED : MAP_PRIVATE, passes, threads);
            _exit(0);
        }
    int status = 0;
    for (size_t i = 0; i < processes; i++) {
        if (wait(&status) < 0) fail("wait", i);
        if (status != 0) return 1;
    }
    return 0;
}

bool stop;

// A thread stays at a few pages, which it need not fault in again as long as its vCPU knows where they were.
int stay(const char* path) {
    static Mapping mapping;
    mapping = map_file(path, PROT_READ, MAP_SHARED);
    const auto look = [](void*) -> void* {
        while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
            for (size_t page = 100; page < 108; page++) check(mapping, page, mark(page));
        return nullptr;
    };
    pthread_t thread;
    if (pthread_create(&thread, nullptr, look, nullptr) != 0) fail("pthread_create", 0);
    read_all(mapping, 3);
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, nullptr);
    return 0;
}

int copy(const char* path) {
    constexpr size_t kEvery = 64;
    const Mapping mapping = map_file(path, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    for (size_t page = 0; page < mapping.pages; page += kEvery) set(mapping, page, page);
    for (int pass = 0; pass < 2; pass++)
        for (size_t page = 0; page < mapping.pages; page++)
            check(mapping, page, page % kEvery == 0 ? page : mark(page));
    return 0;
}

int write_file(const char* path) {
    const Mapping mapping = map_file(path, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (uint64_t pass : {1, 2})
        for (size_t page = 0; page < mapping.pages; page++) {
            check(mapping, page, pass == 1 ? mark(page) : ~mark(page));
            set(mapping, page, pass == 1 ? ~mark(page) : mark(page) + 7);
        }
    for (size_t page = 0; page < mapping.pages; page++) check(mapping, page, mark(page) + 7);
    return 0;
}

long major_faults() {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_majflt;
}

int use_hot(const char* path, const char* hot_path) {
    const Mapping mapping = map_file(path, PROT_READ, MAP_SHARED), hot = map_file(hot_path, PROT_READ, MAP_PRIVATE);
    for (size_t page = 0; page < hot.pages; page++) check(hot, page, mark(page));
    long faults = 0;
    for (size_t page = 0; page < mapping.pages; page++) {
        check(mapping, page, mark(page));
        if (page % 64 != 0) continue;
        const long before = major_faults();
        for (size_t i = 0; i < hot.pages; i++) check(hot, i, mark(i));
        faults += major_faults() - before;
    }
    printf("%ld major faults\n", faults);
    return 0;
}

size_t count_resident(const Mapping& mapping, size_t pages) {
    static unsigned char resident[1 << 16];
    if (mincore(const_cast<uint64_t*>(mapping.words), pages * kPage, resident) < 0) fail("mincore", pages);
    size_t count = 0;
    for (size_t page = 0; page < pages; page++) count += resident[page] & 1;
    return count;
}

int lock(const char* path) {
    const Mapping mapping = map_file(path, PROT_READ, MAP_SHARED);
    constexpr size_t kLocked = 2048;
    void* start = const_cast<uint64_t*>(mapping.words);
    if (mlock(start, kLocked * kPage) < 0) fail("mlock", 0);
    for (size_t page = kLocked; page < mapping.pages; page++) check(mapping, page, mark(page));
    if (count_resident(mapping, mapping.pages) == mapping.pages) fail("the rest was in memory", 0);
    if (count_resident(mapping, kLocked) != kLocked) fail("locked pages had gone", 0);
    for (size_t page = 0; page < kLocked; page++) check(mapping, page, mark(page));
    return 0;
}

int use_anonymous(const char* path, size_t mib) {
    const Mapping mapping = map_file(path, PROT_READ, MAP_SHARED);
    read_all(mapping, 1);
    void* memory = mmap(nullptr, mib * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const Mapping own{static_cast<volatile uint64_t*>(memory), mib * kMiB / kPage};
    for (size_t page = 0; page < own.pages; page++) set(own, page, page);
    read_all(mapping, 1);
    for (size_t page = 0; page < own.pages; page++) check(own, page, page);
    return 0;
}

int synchronize(const char* path) {
    const int fd = open_file(path, O_RDWR);
    const Mapping mapping = map_file(path, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (uint64_t value : {1, 2}) {
        set(mapping, 0, value);
        if (fsync(fd) < 0) fail("fsync", 0);
    }
    puts("synchronized");
    fflush(stdout);
    sleep(1000);
    return 0;
}

// The errors that munmap(2) and eviction could not tell.
int lose(const char* path) {
    const int fd = open_file(path, O_RDWR);
    const Mapping mapping = map_file(path, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (size_t page = 0; page < mapping.pages; page++) set(mapping, page, page);
    if (munmap(const_cast<uint64_t*>(mapping.words), mapping.pages * kPage) < 0) fail("munmap", 0);
    if (fsync(fd) == 0) fail("fsync told nothing of what is lost", 0);
    if (errno != ENOSPC) fail("fsync", 0);
    if (fsync(fd) < 0) fail("fsync told it twice", 0);
    return 0;
}
}  // namespace

int main(int argc, char** argv) {
    const char* what = argc > 2 ? argv[1] : "";
    const auto is = [=](const char* name, int arguments) { return strcmp(what, name) == 0 && argc == 2 + arguments; };
    const auto number = [=](int index) { return strtoul(argv[index], nullptr, 10); };
    int result = 2;
    if (is("make", 2)) result = make(argv[2], number(3));
    if (is("read", 4)) result = read_file(argv[2], number(3), number(4), number(5));
    if (is("stay", 1)) result = stay(argv[2]);
    if (is("copy", 1)) result = copy(argv[2]);
    if (is("write", 1)) result = write_file(argv[2]);
    if (is("hot", 2)) result = use_hot(argv[2], argv[3]);
    if (is("lock", 1)) result = lock(argv[2]);
    if (is("anonymous", 2)) result = use_anonymous(argv[2], number(3));
    if (is("synchronize", 1)) result = synchronize(argv[2]);
    if (is("lose", 1)) result = lose(argv[2]);
    if (result == 0) puts("done");
    return result;
}
