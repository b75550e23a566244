// Runs a program as a container engine does by default: with the capabilities that Docker leaves, and with a seccomp
// filter that forbids what Docker's forbids of what a sandbox could want. Usage: outer_filter PROGRAM [ARGUMENT...]
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kCapabilities[] = {
    CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FSETID,  CAP_FOWNER,           CAP_MKNOD,      CAP_NET_RAW, CAP_SETGID,
    CAP_SETUID, CAP_SETFCAP,      CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT, CAP_KILL,    CAP_AUDIT_WRITE};
constexpr int kForbidden[] = {SYS_mount,
                              SYS_umount2,
                              SYS_unshare,
                              SYS_setns,
                              SYS_pivot_root,
                              SYS_ptrace,
                              SYS_bpf,
                              SYS_keyctl,
                              SYS_add_key,
                              SYS_request_key,
                              SYS_userfaultfd,
                              SYS_process_vm_readv,
                              SYS_process_vm_writev,
                              SYS_perf_event_open,
                              SYS_fsopen,
                              SYS_fsconfig,
                              SYS_fsmount,
                              SYS_fspick,
                              SYS_open_tree,
                              SYS_move_mount,
                              SYS_mount_setattr,
                              SYS_name_to_handle_at,
                              SYS_open_by_handle_at,
                              SYS_kcmp,
                              SYS_move_pages,
                              SYS_mbind,
                              SYS_set_mempolicy,
                              SYS_syslog,
                              SYS_init_module,
                              SYS_finit_module,
                              SYS_kexec_load,
                              SYS_quotactl};
constexpr uint64_t kNamespaceFlags[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                        CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(120);
}

void install_filter(bool privileged) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, privileged ? 0 : 1);
    int error = 0;
    for (int number : kForbidden) error |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
    for (uint64_t flag : kNamespaceFlags)
        error |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SYS_clone, 1,
                                  scmp_arg_cmp{0, SCMP_CMP_MASKED_EQ, flag, flag});
    error |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SYS_clone3, 0);
    if (error != 0 || seccomp_load(filter) != 0) fail("seccomp");
}

void drop_capabilities() {
    uint64_t kept = 0;
    for (int capability : kCapabilities) kept |= uint64_t{1} << capability;
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
        if (!(kept >> capability & 1) && prctl(PR_CAPBSET_DROP, capability) < 0) fail("PR_CAPBSET_DROP");
    }
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    for (int half = 0; half < 2; ++half)
        data[half].effective = data[half].permitted = static_cast<uint32_t>(kept >> (32 * half));
    if (syscall(SYS_capset, &header, data) < 0) fail("capset");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return 120;
    const bool privileged = geteuid() == 0;
    install_filter(privileged);
    if (privileged) drop_capabilities();
    execvp(argv[1], argv + 1);
    fail(argv[1]);
}
