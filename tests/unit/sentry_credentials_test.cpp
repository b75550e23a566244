// Transitions of credentials as setuid(2), capabilities(7) and execve(2) describe them.
#include <gtest/gtest.h>

#include "guestkernel/auth/transitions.hpp"

namespace kvmsbx::auth {
namespace {

constexpr uint64_t kDocker = 0xa80425fb;

RefPtr<Credentials> root() {
    auto c = make_ref<Credentials>().release_value();
    c->permitted.bits = c->effective.bits = c->bounding.bits = kDocker;
    return c;
}

RefPtr<Credentials> user(Uid uid) { return set_uid(*root(), uid).release_value(); }

TEST(Credentials, SetuidOfRootGivesUpEverything) {
    auto c = user(1000);
    EXPECT_EQ(c->ruid, 1000u);
    EXPECT_EQ(c->euid, 1000u);
    EXPECT_EQ(c->suid, 1000u);
    EXPECT_EQ(c->fsuid, 1000u);
    EXPECT_EQ(c->permitted.bits, 0u);
    EXPECT_EQ(c->effective.bits, 0u);
    EXPECT_EQ(set_uid(*c, 0).error(), Errno::kPERM);
    EXPECT_EQ(set_uid(*c, ~0U).error(), Errno::kINVAL);
}

TEST(Credentials, SeteuidTakesAndGivesBackEffective) {
    auto low = set_resuid(*root(), kKeep, 1000, kKeep).release_value();
    EXPECT_EQ(low->effective.bits, 0u);
    EXPECT_EQ(low->permitted.bits, kDocker);
    auto high = set_resuid(*low, kKeep, 0, kKeep).release_value();
    EXPECT_EQ(high->effective.bits, kDocker);
}

TEST(Credentials, KeepCapsKeepsPermittedOnly) {
    auto keep = set_keep_caps(*root(), true).release_value();
    auto c = set_uid(*keep, 1000).release_value();
    EXPECT_EQ(c->permitted.bits, kDocker);
    EXPECT_EQ(c->effective.bits, 0u);
}

TEST(Credentials, SetreuidSetsSavedWhenRealChanges) {
    auto c = set_reuid(*root(), 5, 6).release_value();
    EXPECT_EQ(c->suid, 6u);
    auto swapped = set_reuid(*c, 6, 5).release_value();
    EXPECT_EQ(swapped->ruid, 6u);
    EXPECT_EQ(swapped->euid, 5u);
    EXPECT_EQ(swapped->suid, 5u);
    EXPECT_EQ(set_reuid(*swapped, 7, kKeep).error(), Errno::kPERM);
}

TEST(Credentials, FsuidTakesFileCapabilities) {
    auto c = set_fsuid(*root(), 1000).release_value();
    EXPECT_FALSE(c->has(Capability::kDacOverride));
    EXPECT_TRUE(c->has(Capability::kSetuid));
    EXPECT_TRUE(set_fsuid(*c, 0).release_value()->has(Capability::kDacOverride));
}

TEST(Credentials, CapsetRules) {
    auto c = root();
    EXPECT_EQ(set_capabilities(*c, {0}, {1ULL << 21}, {0}).error(), Errno::kPERM);  // not permitted before
    EXPECT_EQ(set_capabilities(*c, {1}, {0}, {0}).error(), Errno::kPERM);           // effective beyond permitted
    EXPECT_EQ(set_capabilities(*c, {0}, {0}, {1ULL << 21}).error(), Errno::kPERM);  // inheritable beyond bounding
    auto less = set_capabilities(*c, {1}, {1}, {1}).release_value();
    EXPECT_EQ(less->permitted.bits, 1u);
    auto raised = raise_ambient(*less, 0).release_value();
    EXPECT_EQ(raised->ambient.bits, 1u);
    EXPECT_EQ(set_capabilities(*raised, {1}, {1}, {0}).release_value()->ambient.bits, 0u);
    EXPECT_EQ(raise_ambient(*less, 1).error(), Errno::kPERM);
}

TEST(Credentials, LockedSecurebitsStay) {
    auto c = root();
    c->effective.bits |= 1ULL << static_cast<unsigned>(Capability::kSetpcap);
    auto locked = set_securebits(*c, kSecureNoroot | kSecureNoroot << 1).release_value();
    EXPECT_EQ(set_securebits(*locked, 0).error(), Errno::kPERM);
    EXPECT_EQ(set_securebits(*c, 0x100).error(), Errno::kPERM);
}

TEST(Exec, UserStaysUser) {
    auto result = for_exec(*user(1000), 0, 0, 0).release_value();
    EXPECT_EQ(result.credentials->permitted.bits, 0u);
    EXPECT_FALSE(result.secure);
}

TEST(Exec, RootGetsTheBoundingSet) {
    auto c = root();
    c->permitted.bits = c->effective.bits = 1;
    auto result = for_exec(*c, 0, 0, 0).release_value();
    EXPECT_EQ(result.credentials->permitted.bits, kDocker);
    EXPECT_EQ(result.credentials->effective.bits, kDocker);
    EXPECT_FALSE(result.secure);
}

TEST(Exec, SetuidRootProgram) {
    auto c = user(1000);
    auto result = for_exec(*c, 04755 & 06010, 0, 0).release_value();
    EXPECT_EQ(result.credentials->ruid, 1000u);
    EXPECT_EQ(result.credentials->euid, 0u);
    EXPECT_EQ(result.credentials->suid, 0u);
    EXPECT_EQ(result.credentials->effective.bits, kDocker);
    EXPECT_TRUE(result.secure);
}

TEST(Exec, NoNewPrivilegesIgnoresSetuidAndKeepsPermitted) {
    auto c = set_no_new_privileges(*user(1000)).release_value();
    auto result = for_exec(*c, 06010, 0, 0).release_value();
    EXPECT_EQ(result.credentials->euid, 1000u);
    EXPECT_EQ(result.credentials->effective.bits, 0u);
    auto limited = set_no_new_privileges(*root()).release_value();
    limited->permitted.bits = limited->effective.bits = 3;
    EXPECT_EQ(for_exec(*limited, 0, 0, 0).release_value().credentials->permitted.bits, 3u);
}

TEST(Exec, AmbientSurvivesUnlessSetId) {
    auto c = user(1000);
    c->permitted.bits = c->inheritable.bits = c->ambient.bits = 1;
    auto plain = for_exec(*c, 0, 0, 0).release_value();
    EXPECT_EQ(plain.credentials->effective.bits, 1u);
    EXPECT_EQ(plain.credentials->permitted.bits, 1u);
    EXPECT_FALSE(plain.secure);
    auto set_gid = for_exec(*c, 02010, 0, 50).release_value();
    EXPECT_EQ(set_gid.credentials->ambient.bits, 0u);
    EXPECT_EQ(set_gid.credentials->egid, 50u);
}

TEST(Exec, SetgidWithoutGroupExecuteIsNone) {
    EXPECT_EQ(for_exec(*user(1000), 02000, 0, 50).release_value().credentials->egid, 0u);
}

}  // namespace
}  // namespace kvmsbx::auth
