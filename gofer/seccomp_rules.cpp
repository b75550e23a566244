#include <sys/mman.h>
#include <sys/syscall.h>

#include "gofer/confine.hpp"

namespace kvmsbx::gofer {
namespace {

constexpr SeccompRule kRules[] = {
    {SYS_read, "doorbell eventfd"},
    {SYS_write, "completion eventfd; log lines"},
    {SYS_poll, "sleep until the doorbell, the socket or the lifeline"},
    {SYS_recvfrom, "requests", SeccompRule::kSocketOnly},
    {SYS_sendto, "replies", SeccompRule::kSocketOnly},
    {SYS_pread64, "Tread"},
    {SYS_pwrite64, "Twrite"},
    {SYS_openat, "opening of walked files through /proc/self/fd; \".\" of directories"},
    {SYS_openat2, "walk and create: one component beneath a descriptor"},
    {SYS_close, "fids that are clunked"},
    {SYS_statx, "attributes"},
    {SYS_fstatfs, "Tstatfs"},
    {SYS_getdents64, "Treaddir"},
    {SYS_lseek, "Treaddir: cookies"},
    {SYS_readlinkat, "Treadlink"},
    {SYS_mkdirat, "Tmkdir"},
    {SYS_mknodat, "Tmknod"},
    {SYS_symlinkat, "Tsymlink"},
    {SYS_linkat, "Tlink"},
    {SYS_renameat, "Trename, Trenameat"},
    {SYS_renameat2, "Trenameflags"},
    {SYS_unlinkat, "Tunlinkat, Tremove; what could not be given its owner"},
    {SYS_fchownat, "owner of new files; Tsetattr"},
    {SYS_fchmod, "suid and sgid bits of new files"},
    {SYS_fchmodat, "Tsetattr: mode"},
    {SYS_ftruncate, "Tsetattr: size"},
    {SYS_utimensat, "Tsetattr: times"},
    {SYS_fallocate, "Tallocate"},
    {SYS_fsync, "Tfsync"},
    {SYS_fdatasync, "Tfsync"},
    {SYS_fgetxattr, "Txattrwalk"},
    {SYS_flistxattr, "Txattrwalk: names"},
    {SYS_fsetxattr, "Txattrcreate"},
    {SYS_fremovexattr, "Txattrcreate of size 0"},
    {SYS_clock_gettime, "polling, where the vDSO has no clock", SeccompRule::kRare},
    {SYS_brk, "malloc", SeccompRule::kRare},
    {SYS_mmap, "malloc; never executable", SeccompRule::kRare, {.argument = 2, .forbidden = PROT_EXEC}},
    {SYS_munmap, "free", SeccompRule::kRare},
    {SYS_restart_syscall, "poll after SIGSTOP and SIGCONT", SeccompRule::kRare},
    {SYS_exit_group, "the end"},
};

}  // namespace

std::span<const SeccompRule> seccomp_rules() { return kRules; }

}  // namespace kvmsbx::gofer
