#pragma once
// Reading tables of /proc.
#include <cstdarg>
#include <cstdlib>
#include <string>

#include "tests/guest/guest_test.hpp"

namespace proc {

inline std::string content(const std::string& path) {
    static char text[1 << 18];
    if (guest::read_file(path.c_str(), text, sizeof text) < 0)
        guest::fail(__FILE__, __LINE__, "%s: %s", path.c_str(), strerror(errno));
    return text;
}

// The number behind "NAME" at the start of a line; fails where there is no such line.
inline long long number_in(const std::string& table, const std::string& name) {
    size_t at = table.compare(0, name.size(), name) == 0 ? 0 : table.find("\n" + name);
    if (at == std::string::npos) guest::fail(__FILE__, __LINE__, "no line %s", name.c_str());
    if (at != 0 || table.compare(0, name.size(), name) != 0) ++at;
    return strtoll(table.c_str() + at + name.size(), nullptr, 10);
}

inline bool has_line(const std::string& table, const std::string& name) {
    return table.compare(0, name.size(), name) == 0 || table.find("\n" + name) != std::string::npos;
}

// Field N (from 1, as proc(5) counts) of a stat line.
inline long long stat_field(const std::string& stat, int field) {
    const char* at = strrchr(stat.c_str(), ')') + 2;
    for (int i = 3; i < field; ++i) at = strchr(at, ' ') + 1;
    return strtoll(at, nullptr, 10);
}

inline std::string of_process(pid_t pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

inline std::string link_of(const std::string& path) {
    char target[256] = {};
    if (readlink(path.c_str(), target, sizeof target - 1) < 0)
        guest::fail(__FILE__, __LINE__, "readlink %s: %s", path.c_str(), strerror(errno));
    return target;
}

// write(2) of the text: 0, or errno.
int write_error(const std::string& path, const char* text);

}  // namespace proc
