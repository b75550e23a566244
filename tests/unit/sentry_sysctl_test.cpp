#include <gtest/gtest.h>

#include "guestkernel/fs/proc/sysctl.hpp"
#include "guestkernel/platform/test/machine.hpp"
#include "guestkernel/task/uts.hpp"

namespace kvmsbx::fs {
namespace {

constexpr Errno kNone{};

// linux.sysctl of config.json.
TEST(Sysctl, SetsWhatAWriteToProcSysSets) {
    platform::test::Machine machine;
    machine.run([] {
        EXPECT_EQ(set_sysctl("kernel.domainname", "example.org").error(), kNone);
        EXPECT_STREQ(task::uts().domainname, "example.org");
        EXPECT_EQ(set_sysctl("kernel/hostname", "box\n").error(), kNone);
        EXPECT_STREQ(task::uts().nodename, "box");
        EXPECT_EQ(set_sysctl("net.ipv4.ping_group_range", "0 2147483647").error(), kNone);
        EXPECT_EQ(set_sysctl("net.ipv4.ping_group_range", "0 2147483648").error(), Errno::kINVAL);
        EXPECT_EQ(set_sysctl("net.ipv4.ip_unprivileged_port_start", "70000").error(), Errno::kINVAL);
        for (const auto& [name, value] : {std::pair{"kernel.shm_rmid_forced", "1"},
                                          {"net.core.somaxconn", "128"},
                                          {"net.ipv4.ip_local_port_range", "2000 3000"},
                                          {"net.ipv4.tcp_keepalive_time", "60"},
                                          {"net.ipv4.tcp_keepalive_intvl", "6"},
                                          {"net.ipv4.tcp_keepalive_probes", "3"},
                                          {"net.ipv4.tcp_fin_timeout", "10"},
                                          {"kernel.shmmax", "1000000"},
                                          {"kernel.msgmax", "100"},
                                          {"kernel.sem", "250 32000 32 128"},
                                          {"fs.mqueue.msg_max", "20"}})
            EXPECT_EQ(set_sysctl(name, value).error(), kNone) << name;
    });
}

TEST(Sysctl, TellsWhyItRefuses) {
    platform::test::Machine machine;
    machine.run([] {
        for (const char* name : {"", "kernel", "kernel.", "kernel.none", "kernel.random", "kernel.hostname.more",
                                 "kernel.random/uuid", "/kernel/hostname", "net.ipv4"})
            EXPECT_EQ(set_sysctl(name, "1").error(), Errno::kNOENT) << name;
        EXPECT_EQ(set_sysctl("net.ipv4.ip_forward", "1").error(), Errno::kACCES);
        EXPECT_EQ(set_sysctl("kernel.ostype", "Minix").error(), Errno::kACCES);
        EXPECT_EQ(set_sysctl("kernel.shmmni", "many").error(), Errno::kINVAL);
    });
}

// Then nothing is dropped.
TEST(Sysctl, TakesAFixedValueThatHoldsAlready) {
    platform::test::Machine machine;
    machine.run([] {
        EXPECT_EQ(set_sysctl("net.ipv4.ip_forward", "0").error(), kNone);
        EXPECT_EQ(set_sysctl("net.ipv4.tcp_rmem", "4096 131072  4194304").error(), kNone);
        EXPECT_EQ(set_sysctl("net.ipv4.tcp_rmem", "4096 131072").error(), Errno::kACCES);
    });
}

}  // namespace
}  // namespace kvmsbx::fs
