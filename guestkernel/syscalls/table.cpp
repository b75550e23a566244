// The one table: every family's list, by number. A call that no list names is ENOSYS.
#include <array>
#include <iterator>

#include "guestkernel/syscalls/syscall.hpp"

#include "guestkernel/syscalls/handlers_creds.hpp"
#include "guestkernel/syscalls/handlers_file.hpp"
#include "guestkernel/syscalls/handlers_futex.hpp"
#include "guestkernel/syscalls/handlers_ipc.hpp"
#include "guestkernel/syscalls/handlers_memory.hpp"
#include "guestkernel/syscalls/handlers_misc.hpp"
#include "guestkernel/syscalls/handlers_mount.hpp"
#include "guestkernel/syscalls/handlers_net.hpp"
#include "guestkernel/syscalls/handlers_poll.hpp"
#include "guestkernel/syscalls/handlers_process.hpp"
#include "guestkernel/syscalls/handlers_ptrace.hpp"
#include "guestkernel/syscalls/handlers_signal.hpp"
#include "guestkernel/syscalls/handlers_time.hpp"

namespace kvmsbx::syscalls {
namespace {

#define SYSCALL(number, name, support, note) \
    Entry{number, Support::support, #name, note, &Invoke<&sys_##name>::invoke, &Invoke<&sys_##name>::print},

constexpr Entry kEntries[] = {
#include "guestkernel/syscalls/table_creds.inc"
#include "guestkernel/syscalls/table_file.inc"
#include "guestkernel/syscalls/table_futex.inc"
#include "guestkernel/syscalls/table_ipc.inc"
#include "guestkernel/syscalls/table_memory.inc"
#include "guestkernel/syscalls/table_misc.inc"
#include "guestkernel/syscalls/table_mount.inc"
#include "guestkernel/syscalls/table_net.inc"
#include "guestkernel/syscalls/table_poll.inc"
#include "guestkernel/syscalls/table_process.inc"
#include "guestkernel/syscalls/table_ptrace.inc"
#include "guestkernel/syscalls/table_signal.inc"
#include "guestkernel/syscalls/table_time.inc"
};
#undef SYSCALL

constexpr bool numbers_are_unique() {
    std::array<bool, kMaxSyscall> seen{};
    for (const Entry& entry : kEntries) {
        if (entry.number >= kMaxSyscall || seen[entry.number]) return false;
        seen[entry.number] = true;
    }
    return true;
}
static_assert(numbers_are_unique(), "two entries with one number, or a number beyond kMaxSyscall");

constexpr Table make_table() {
    Table made{};
    for (const Entry& entry : kEntries) made.by_number[entry.number] = &entry;
    return made;
}

}  // namespace

constinit const Table table = make_table();

}  // namespace kvmsbx::syscalls
