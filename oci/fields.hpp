#pragma once
// Every field of config.json (runtime-spec 1.2 and 1.3), and what kvmsbx does with it.
#include <cstdint>
#include <span>
#include <string_view>

namespace kvmsbx::oci {

enum class Treatment : uint8_t {
    kApplied,
    kNamed,  // not applied; the user is told when it is set
};

struct Field {
    std::string_view
        path;  // "process.rlimits[].type"; "*" stands for any name; children of a named field are not listed
    Treatment treatment = Treatment::kApplied;
    bool matters = false;  // of a named field: it changes behaviour or safety
    const char* why = "";  // of a named field: what it means for the user
};

std::span<const Field> spec_fields();

}  // namespace kvmsbx::oci
