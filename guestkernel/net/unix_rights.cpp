#include "guestkernel/net/unix_rights.hpp"

#include "guestkernel/net/unix_socket.hpp"

namespace kvmsbx::net {

namespace {

struct UserCount {
    auth::Uid user;
    uint64_t files;
};
Vector<UserCount> user_counts;  // those with files in flight

UserCount* find_count(auth::Uid user) {
    for (UserCount& count : user_counts)
        if (count.user == user) return &count;
    return nullptr;
}

using FlyingList = List<FlightState, &FlightState::flying_hook>;
using WorkList = List<FlightState, &FlightState::work_hook>;
FlyingList flying;
size_t flying_count = 0;

void set_flying(UnixSocket& socket, int step) {
    FlightState& state = socket.flight;
    if (step > 0 && state.packets == 0) flying.push_back(state), ++flying_count;
    state.packets += static_cast<uint32_t>(step);
    if (state.packets == 0) state.flying_hook.unlink(), --flying_count;
}

template <typename Visit>
void for_each_carried(UnixSocket& holder, Visit visit) {
    holder.for_each_packet([&](Packet& packet) {
        for (const RefPtr<vfs::File>& file : packet.rights.files())
            if (UnixSocket* carried = UnixSocket::from(*file)) visit(carried->flight);
    });
}

// Clears `suspect` of all that living sockets lead to.
void acquit_reachable() {
    WorkList work;
    for (FlightState& state : flying)
        if (state.suspect && state.unexplained > 0) {
            state.suspect = false;
            work.push_back(state);
        }
    while (!work.empty()) {
        FlightState& state = work.front();
        work.pop_front();
        for_each_carried(state.socket, [&work](FlightState& carried) {
            if (!carried.suspect) return;
            carried.suspect = false;
            work.push_back(carried);
        });
    }
}

}  // namespace

Result<> Rights::take_off(task::Task& task, Vector<RefPtr<vfs::File>>& files) {
    using auth::Capability;
    const auth::Credentials& who = task.credentials();
    UserCount* count = find_count(who.ruid);
    if (count && count->files > task.limit(task::kRlimitNofile) && !who.has(Capability::kSysResource) &&
        !who.has(Capability::kSysAdmin))
        return Errno::kTOOMANYREFS;
    if (!count) {
        TRY(user_counts.push_back({who.ruid, 0}));
        count = &user_counts.back();
    }
    user_ = who.ruid;
    count->files += files.size();
    files_.swap(files);
    for (const RefPtr<vfs::File>& file : files_)
        if (UnixSocket* socket = UnixSocket::from(*file)) set_flying(*socket, 1);
    return {};
}

Vector<RefPtr<vfs::File>> Rights::land() {
    Vector<RefPtr<vfs::File>> landed;
    landed.swap(files_);
    if (landed.empty()) return landed;
    for (const RefPtr<vfs::File>& file : landed)
        if (UnixSocket* socket = UnixSocket::from(*file)) set_flying(*socket, -1);
    UserCount* count = find_count(user_);
    VERIFY(count && count->files >= landed.size());
    count->files -= landed.size();
    if (count->files == 0) user_counts.erase(static_cast<size_t>(count - user_counts.begin()));
    return landed;
}

void Rights::clear() { (void)land(); }

void collect_garbage() {
    static bool collecting = false;  // ending a socket asks again
    if (collecting || flying.empty()) return;
    // Looking at all that travels pays when about as much may have changed since the last time.
    constexpr size_t kFew = 64;
    static size_t asked = 0, survivors = 0;
    if (++asked * 2 < survivors && flying_count > kFew) return;
    collecting = true;
    bool any = false;
    for (FlightState& state : flying) {
        state.suspect = state.socket.reference_count() == state.packets;
        state.unexplained = state.packets;
        any = any || state.suspect;
    }
    if (any) {
        for (FlightState& state : flying)
            if (state.suspect) for_each_carried(state.socket, [](FlightState& carried) { --carried.unexplained; });
        acquit_reachable();
        PacketList dropped;
        for (FlightState& state : flying)
            if (state.suspect) state.socket.take_packets(dropped);
        dropped.clear_and_dispose([](Packet* packet) { delete packet; });
    }
    collecting = false;
    asked = 0;
    survivors = flying_count;
}

}  // namespace kvmsbx::net
