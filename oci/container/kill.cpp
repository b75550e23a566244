#include <signal.h>

#include <cctype>
#include <cstdlib>
#include <cstring>

#include "oci/container/access.hpp"
#include "oci/container/lifecycle.hpp"

namespace kvmsbx::oci {
namespace {

constexpr int kFirstRealTime = 34, kLastSignal = 64;  // as glibc numbers SIGRTMIN

std::optional<int> real_time_number(const std::string& name) {
    const bool from_first = name.starts_with("RTMIN"), from_last = name.starts_with("RTMAX");
    if (!from_first && !from_last) return std::nullopt;
    const int base = from_first ? kFirstRealTime : kLastSignal;
    const std::string offset = name.substr(5);
    if (offset.empty()) return base;
    char* end = nullptr;
    const long value = std::strtol(offset.c_str(), &end, 10);
    if (*end != '\0') return std::nullopt;
    return base + static_cast<int>(value);
}

// "15", "TERM", "SIGTERM", "SIGRTMIN+3".
Outcome<int> signal_number(const std::string& text) {
    std::optional<int> number;
    if (!text.empty() && text.find_first_not_of("0123456789") == text.npos && text.size() <= 3) {
        number = std::atoi(text.c_str());
    } else {
        std::string name;
        for (char c : text) name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        if (name.starts_with("SIG")) name.erase(0, 3);
        number = real_time_number(name);
        for (int i = 1; i < kFirstRealTime && !number; i++) {
            const char* abbreviation = sigabbrev_np(i);
            if (abbreviation && name == abbreviation) number = i;
        }
    }
    if (number && *number >= 1 && *number <= kLastSignal) return *number;
    return Failure{"unknown signal \"" + text.substr(0, 40) + "\": use a number from 1 to 64, or a name like TERM"};
}

Outcome<> send_signal(const std::string& root, const std::string& id, const std::string& signal, bool all) {
    const int number = TRY(signal_number(signal));
    const Container container = TRY(find_container(root, id));
    ControlConnection monitor = TRY(connect(container));
    TRY(ask(monitor, control::Signal{0, static_cast<uint32_t>(number), all, false}));
    return {};
}

}  // namespace

int kill_container(const std::string& root, const std::string& id, const std::string& signal, bool all,
                   Reporter& reporter) {
    return finish(send_signal(root, id, signal, all), reporter);
}

}  // namespace kvmsbx::oci
