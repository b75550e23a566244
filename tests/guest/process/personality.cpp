// personality(2): what it changes of uname(2).
#include <sys/personality.h>
#include <sys/utsname.h>

#include <cstdlib>

#include "tests/guest/guest_test.hpp"

using namespace guest;

TEST("personality_linux32_is_another_machine") {
    utsname name;
    CHECK_EQ(personality(PER_LINUX32), PER_LINUX);
    OK(uname(&name));
    CHECK_STREQ(name.machine, "i686");
    CHECK_EXITED(run_child([] {
                     utsname inherited;
                     OK(uname(&inherited));
                     CHECK_STREQ(inherited.machine, "i686");
                 }),
                 0);
    CHECK_EQ(personality(PER_LINUX), PER_LINUX32);
    OK(uname(&name));
    CHECK_STREQ(name.machine, "x86_64");
}

TEST("personality_uname26_is_an_old_release") {
    utsname real, old;
    OK(uname(&real));
    CHECK_EQ(personality(UNAME26), PER_LINUX);
    OK(uname(&old));
    CHECK_EQ(strncmp(old.release, "2.6.", 4), 0);
    unsigned major, minor;
    CHECK_EQ(sscanf(real.release, "%u.%u", &major, &minor), 2);
    CHECK_EQ(strtoul(old.release + 4, nullptr, 10), minor + 60);
    const char* rest = real.release + strspn(real.release, "0123456789.");
    CHECK_STREQ(old.release + strlen(old.release) - strlen(rest), rest);
}
