#pragma once
// Files of /proc that are about the whole system.
#include "guestkernel/lib/format.hpp"

namespace kvmsbx::fs {

Result<> put_meminfo(TextSink& sink);
Result<> put_system_stat(TextSink& sink);
Result<> put_uptime(TextSink& sink);
Result<> put_loadavg(TextSink& sink);
Result<> put_version(TextSink& sink);
Result<> put_filesystems(TextSink& sink);
Result<> put_devices(TextSink& sink);
Result<> put_vmstat(TextSink& sink);
Result<> put_interrupts(TextSink& sink);
Result<> put_softirqs(TextSink& sink);
Result<> put_cgroups(TextSink& sink);
Result<> refuse_reading(TextSink& sink);  // EPERM

}  // namespace kvmsbx::fs
