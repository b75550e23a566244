#include "guestkernel/init/boot_sandbox.hpp"

#include "guestkernel/control/first_process.hpp"
#include "guestkernel/control/limits.hpp"
#include "guestkernel/fs/dev.hpp"
#include "guestkernel/fs/file_systems.hpp"
#include "guestkernel/fs/proc/sysctl.hpp"
#include "guestkernel/sched/clock.hpp"
#include "guestkernel/task/oom.hpp"
#include "guestkernel/task/uts.hpp"

namespace kvmsbx::init {
namespace {

[[noreturn]] void fail(std::string_view what, std::string_view name, Errno error, std::string_view advice) {
    control::Failure failure;
    control::fail(failure, what, name, error, advice);
    control::end_with(failure);
}

void set_names(const SandboxSpec& spec) {
    const std::string_view name = spec.hostname.empty() ? "kvmsbx" : spec.hostname;
    if (auto named = task::set_hostname(name); named.is_error())
        fail("cannot set the host name", name, named.error(), "check hostname in config.json");
    if (auto named = task::set_domainname(spec.domainname); named.is_error())
        fail("cannot set the domain name", spec.domainname, named.error(), "check domainname in config.json");
}

std::string_view sysctl_advice(Errno error) {
    switch (error) {
        case Errno::kNOENT: return "there is no such sysctl in a sandbox: remove it from config.json";
        case Errno::kACCES: return "its value is fixed in a sandbox: remove it from config.json";
        default: return "check its value in config.json";
    }
}

void check_clocks(const SandboxSpec& spec) {
    const sched::ClockOffsets& set = sched::clock_offsets();
    if (set.monotonic != spec.monotonic_offset_ns || set.boottime != spec.boottime_offset_ns)
        fail("cannot apply", "linux.timeOffsets", Errno::kRANGE, "a clock would begin before 0 or after 146 years");
}

void set_sysctls(const SandboxSpec& spec) {
    for (const auto& sysctl : spec.sysctls)
        if (auto set = fs::set_sysctl(sysctl.name, sysctl.value); set.is_error())
            fail("cannot set linux.sysctl", sysctl.name, set.error(), sysctl_advice(set.error()));
}

vfs::SpecMount spec_mount(const spec::Mount<wire::Viewed>& mount) {
    return {mount.type, mount.source, mount.destination, mount.data, mount.flags, mount.shared_access, mount.copy_up};
}

void mount_everything(task::Task& first, const SandboxSpec& spec) {
    bool is_root = true;
    for (const auto& mount : spec.mounts) {
        if (is_root) {
            auto context = vfs::mount_root(spec_mount(mount));
            if (context.is_error())
                fail("cannot mount the root from the gofer", "/", context.error(), "see --debug for the gofer's log");
            first.fs_ = context.release_value();
        } else if (auto mounted = vfs::mount_spec(first.fs(), spec_mount(mount)); mounted.is_error()) {
            fail("cannot mount on", mount.destination, mounted.error(), "check this entry of mounts in config.json");
        }
        is_root = false;
    }
}

void make_devices(task::Task& first, const SandboxSpec& spec) {
    for (const auto& device : spec.devices) {
        const auto made = fs::make_device(first.fs(), device);
        if (made.is_ok()) continue;
        if (made.error() != Errno::kNXIO)
            fail("cannot make the device", device.path, made.error(), "check linux.devices in config.json");
        debug("linux.devices: the sandbox does not have the device of {}", device.path);
    }
}

// As runc has it: there is a console where there is a terminal, and it is its user's.
void make_console(task::Task& first, const SandboxSpec& spec) {
    if (!spec.process.terminal) return;
    const spec::Device<wire::Viewed> console{"/dev/console", vfs::kModeChar, 5, 1, 0620, spec.process.uid, 5};
    if (auto made = fs::make_device(first.fs(), console); made.is_error())
        debug("no /dev/console: errno {}", static_cast<int32_t>(made.error()));  // /dev is the host's
}

void restrict_paths(task::Task& first, const SandboxSpec& spec) {
    for (std::string_view path : spec.masked_paths)
        if (auto masked = vfs::mask_path(first.fs(), path); masked.is_error())
            fail("cannot mask", path, masked.error(), "check linux.maskedPaths in config.json");
    for (std::string_view path : spec.readonly_paths)
        if (auto made = vfs::make_path_readonly(first.fs(), path); made.is_error())
            fail("cannot make read-only", path, made.error(), "check linux.readonlyPaths in config.json");
}

}  // namespace

void boot_sandbox(task::Task& first, const SandboxSpec& spec) {
    if (auto applied = control::apply_limits(spec.limits); applied.is_error())
        fail("cannot apply", "linux.resources.cpu", applied.error(),
             "the period is 1000 to 1000000 us, the quota at least 1000 us");
    task::install_oom_killer();
    fs::register_file_systems();
    check_clocks(spec);
    set_names(spec);
    set_sysctls(spec);
    mount_everything(first, spec);
    make_console(first, spec);
    make_devices(first, spec);
    restrict_paths(first, spec);
}

}  // namespace kvmsbx::init
