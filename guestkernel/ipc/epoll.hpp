#pragma once
// epoll(7).
//
// Model. An Epoll holds an Interest per (file, descriptor). An Interest stands in its file's wait queue for as long as
// it lives (a sched::Waiter) and among the file's observers, so that it goes when the file does; it holds no reference
// to the file.
// - notify() puts an interest on ready_ (once) and wakes who waits for the epoll.
// - A wait takes interests from ready_ and asks each file again: what is not true any more is left out; what is
//   level-triggered goes back to the end of ready_ (so the next wait asks again); edge-triggered ones come back with
//   the next notify().
// - An epoll can be watched by another one, up to kMaxNesting deep, without circles; nested files are asked
//   recursively. Asking (File::poll) does not block, so a collection is one piece; only the copy to the application
//   comes after it.
// - What an application can nest is bounded as on Linux: one event goes up by kPathLimits ways at most, and searches
//   visit an epoll once (visited_).
#include "guestkernel/ipc/anonymous_file.hpp"

namespace kvmsbx::ipc {

// epoll_event.events beyond the poll(2) bits.
inline constexpr uint32_t kEpollExclusive = 1U << 28, kEpollWakeup = 1U << 29, kEpollOneshot = 1U << 30,
                          kEpollEdge = 1U << 31;

struct [[gnu::packed]] EpollEvent {  // struct epoll_event, packed on x86-64
    uint32_t events;
    uint64_t data;
};
static_assert(sizeof(EpollEvent) == 12);

class Epoll final : public AnonymousFile {
  public:
    static constexpr unsigned kMaxNesting = 5;
    static constexpr size_t kBatch = 128;  // events that one wait gives at most

    explicit Epoll(uint32_t flags) : AnonymousFile("[eventpoll]", flags) {}
    ~Epoll() override;
    // Null if the file is no epoll.
    static Epoll* from(vfs::File& file);

    // epoll_ctl(2): EEXIST, ENOENT, ELOOP, ENOMEM, ENOSPC, EPERM, EINVAL (too many ways up).
    Result<> add(vfs::File& file, int fd, const EpollEvent& event);
    Result<> modify(vfs::File& file, int fd, const EpollEvent& event);
    Result<> remove(vfs::File& file, int fd);
    // An event that a wait has taken, and what it was taken from.
    struct Taken {
        EpollEvent event;
        uint32_t mask;  // the interest's, before EPOLLONESHOT
        const vfs::File* file;
        int fd;
    };
    // Waits for at least one event; gives how many stand in `out` (0 after the deadline). EINTR.
    Result<size_t> wait(std::span<Taken> out, sched::Nanoseconds deadline);
    size_t interest_count() const { return interest_count_; }
    // What could not be told: the next wait looks at it again.
    void give_back(std::span<const Taken> events);

    vfs::PollState poll() override;
    const void* class_tag() const override { return &kTag; }

  private:
    static const char kTag;
    class Interest final : public sched::Waiter, public vfs::FileObserver {
      public:
        Interest(Epoll& owner, vfs::File& file, int fd, const EpollEvent& event)
            : owner(owner), file(file), fd(fd), event(event) {
            ++total_interests;
            ++owner.interest_count_;
        }
        ~Interest() {
            --total_interests;
            --owner.interest_count_;
        }
        void notify(uint32_t events) override;
        void file_gone() override;
        uint32_t ask();
        Epoll& owner;
        vfs::File& file;
        const int fd;
        EpollEvent event;
        ListHook ready_hook;
        TreeHook tree_hook;
    };
    struct Key {
        const vfs::File* file;
        int fd;
        friend bool operator<(const Key& a, const Key& b) { return a.file != b.file ? a.file < b.file : a.fd < b.fd; }
    };
    struct KeyOf {
        using type = Key;
        type operator()(const Interest& interest) const { return {&interest.file, interest.fd}; }
    };
    using ReadyList = List<Interest, &Interest::ready_hook>;
    Interest* find(vfs::File& file, int fd);
    void make_ready(Interest& interest);
    void recheck(Interest& interest);
    size_t collect(std::span<Taken> out);
    bool has_ready();
    Result<> check_nesting(const Epoll& nested) const;
    bool reaches(const Epoll& target) const;  // within a search
    unsigned height() const;                  // epolls from here down, this one included; a search of its own
    unsigned height_above() const;            // epolls that watch this one, the longest way up; likewise
    unsigned find_height() const;
    unsigned find_height_above() const;
    // Whether an event of the file has no more ways up than kPathLimits.
    static bool has_few_ways_up(const vfs::File& file);
    static bool count_ways_up(const vfs::File& file, unsigned depth, unsigned (&counts)[kMaxNesting]);
    bool files_have_few_ways_up() const;  // of all files below; a search of its own
    bool check_files_below() const;
    // True once per search: begin_search() starts one.
    bool first_visit() const { return std::exchange(visited_, search) != search; }
    static void begin_search() { ++search; }

    Tree<Interest, &Interest::tree_hook, boost::intrusive::key_of_value<KeyOf>> interests_;
    ReadyList ready_;
    size_t interest_count_ = 0;
    static size_t total_interests;
    static uint64_t search;
    mutable uint64_t visited_ = 0;
    mutable unsigned found_height_ = 0;
    sched::WaitQueue waiting_;  // threads in wait()
    sched::WaitQueue watched_;  // poll and epolls above
};

}  // namespace kvmsbx::ipc
