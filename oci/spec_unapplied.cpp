// What a config.json asks for and kvmsbx does not do: the named fields of fields.cpp that the document sets. Silence
// would be a lie.
#include <algorithm>
#include <iterator>

#include "oci/fields.hpp"
#include "oci/spec_parser.hpp"

namespace kvmsbx::oci::parser {
namespace {

using nlohmann::json;

bool is_empty(const json& value) {
    if (value.is_structured() || value.is_null()) return value.empty();
    if (value.is_string()) return value.get_ref<const std::string&>().empty();
    if (value.is_boolean()) return !value.get<bool>();
    return value.is_number_integer() && value == 0;
}

// Follows the rest of a field's path from a value, and notes each place of the document that it leads to.
class Search {
  public:
    Search(const Field& field, std::vector<UnappliedField>& out) : field_(field), out_(out) {}

    void follow(const json& value, std::string_view rest, const std::string& path) {
        if (rest.empty()) {
            if (!is_empty(value)) out_.push_back({path, field_.why, field_.matters});
        } else if (rest.starts_with("[]")) {
            for (size_t i = 0; value.is_array() && i < value.size(); ++i)
                follow(value[i], rest.substr(2), path + "[" + std::to_string(i) + "]");
        } else {
            follow_name(value, rest.starts_with(".") ? rest.substr(1) : rest, path);
        }
    }

  private:
    void follow_name(const json& value, std::string_view rest, const std::string& path) {
        if (!value.is_object()) return;
        const std::string name(rest.substr(0, rest.find_first_of(".[")));
        const auto member = value.find(name);
        if (member != value.end()) follow(*member, rest.substr(name.size()), path.empty() ? name : path + "." + name);
    }

    const Field& field_;
    std::vector<UnappliedField>& out_;
};

// The devices that the Sentry has (guestkernel/fs/dev.cpp, guestkernel/fs/tty); a FIFO needs none.
bool has_device(const json& device) {
    constexpr unsigned kKnown[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}};
    if (!device.is_object() || device.value("type", json()) == "p") return true;
    if (device.value("type", json()) == "b") return false;
    const json major = device.value("major", json(0)), minor = device.value("minor", json(0));
    return std::any_of(std::begin(kKnown), std::end(kKnown),
                       [&](const unsigned(&known)[2]) { return major == known[0] && minor == known[1]; });
}

// One entry for all: a privileged container has a hundred.
void append_devices(const json& document, std::vector<UnappliedField>& out) {
    const json::json_pointer place("/linux/devices");
    if (!document.contains(place) || !document[place].is_array()) return;
    constexpr size_t kShown = 3;
    size_t missing = 0;
    std::string paths;
    for (const json& device : document[place]) {
        if (has_device(device)) continue;
        if (++missing <= kShown) paths += (missing > 1 ? ", " : "") + device.value("path", std::string("?"));
    }
    if (missing == 0) return;
    if (missing > kShown) paths += " and " + std::to_string(missing - kShown) + " more";
    out.push_back({"linux.devices",
                   "the sandbox has devices of its own only (null, zero, full, random, urandom, tty, console, ptmx), "
                   "and no " +
                       paths,
                   true});
}

}  // namespace

void append_unapplied(const JsonNode& document, const std::string& part, std::vector<UnappliedField>& out) {
    for (const Field& field : spec_fields()) {
        std::string_view rest = field.path;
        if (field.treatment != Treatment::kNamed || !rest.starts_with(part)) continue;
        Search(field, out).follow(document.value(), rest.substr(part.size()), "");
    }
    if (part.empty()) append_devices(document.value(), out);
}

}  // namespace kvmsbx::oci::parser
