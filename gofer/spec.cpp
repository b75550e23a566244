#include "gofer/spec.hpp"

#include <nlohmann/json.hpp>

namespace kvmsbx::gofer {
namespace {

using Json = nlohmann::json;

std::string absolute(const std::string& path, const std::string& bundle) {
    return path.starts_with('/') ? path : bundle + "/" + path;
}

bool has_option(const Json& mount, const char* option) {
    auto options = mount.find("options");
    if (options == mount.end() || !options->is_array()) return false;
    for (const Json& given : *options)
        if (given == option) return true;
    return false;
}

std::string text_of(const Json& object, const char* key) {
    auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

IdRanges ranges_of(const Json& object, const char* key) {
    IdRanges ranges;
    const auto list = object.find(key);
    if (list == object.end() || !list->is_array()) return ranges;
    for (const Json& entry : *list) {
        const auto number = [&](const char* name) {
            const Json value = entry.is_object() ? entry.value(name, Json()) : Json();
            return value.is_number_unsigned() ? value.get<uint32_t>() : uint32_t{0};
        };
        ranges.push_back({number("containerID"), number("hostID"), number("size")});
    }
    return ranges;
}

IdMaps maps_of(const Json& object) { return {ranges_of(object, "uidMappings"), ranges_of(object, "gidMappings")}; }

// The later option wins, as with mount(8).
void apply_access(const Json& mount, BindMount& bind) {
    const auto options = mount.find("options");
    if (options == mount.end() || !options->is_array()) return;
    for (const Json& option : *options) {
        if (option == "ro" || option == "rro") bind.readonly = true;
        if (option == "rw" || option == "rrw") bind.readonly = bind.readonly_below = false;
        if (option == "rro") bind.readonly_below = true;
    }
}

// Mappings of the mount's own, or those of the container.
bool apply_maps(const Json& mount, const IdMaps& container, const std::string& field, BindMount& bind,
                std::string& error) {
    bind.maps = maps_of(mount);
    const bool asked = has_option(mount, "idmap") || has_option(mount, "ridmap");
    if (asked && bind.maps.uids.empty()) bind.maps = container;
    if (bind.maps.uids.empty() == bind.maps.gids.empty() && (!asked || !bind.maps.uids.empty())) return true;
    error = "config.json: " + field + ": idmap needs uidMappings and gidMappings, of the mount or of linux";
    return false;
}

bool parse_mount(const Json& mount, int index, const std::string& bundle, GoferSpec& spec, std::string& error) {
    std::string field = "mounts[" + std::to_string(index) + "]";
    if (!mount.is_object()) return error = "config.json: " + field + " is not an object", false;
    std::string destination = text_of(mount, "destination");
    if (destination.empty()) return error = "config.json: " + field + ".destination is missing", false;
    spec.destinations.push_back(destination);
    bool recursive = has_option(mount, "rbind");
    if (!recursive && !has_option(mount, "bind") && text_of(mount, "type") != "bind") return true;
    std::string source = text_of(mount, "source");
    if (source.empty()) return error = "config.json: " + field + " is a bind mount without a source", false;
    BindMount bind;
    bind.index = index;
    bind.source = absolute(source, bundle);
    bind.recursive = recursive;
    apply_access(mount, bind);
    if (!apply_maps(mount, spec.container_maps, field, bind, error)) return false;
    spec.binds.push_back(std::move(bind));
    return true;
}

}  // namespace

bool parse_spec(std::string_view text, const std::string& bundle, GoferSpec& spec, std::string& error) {
    // What is nested deeper is no field of ours, and printing it would recurse.
    const auto is_shallow = [](int depth, Json::parse_event_t, const Json&) { return depth < 32; };
    Json document = Json::parse(text, is_shallow, false);
    if (document.is_discarded() || !document.is_object()) return error = "config.json is not a JSON object", false;
    auto root = document.find("root");
    if (root == document.end() || !root->is_object()) return error = "config.json: root is missing", false;
    std::string path = text_of(*root, "path");
    if (path.empty()) return error = "config.json: root.path is missing", false;
    spec.root_path = absolute(path, bundle);
    auto readonly = root->find("readonly");
    spec.root_readonly = readonly != root->end() && *readonly == true;
    const auto section = document.find("linux");
    if (section != document.end() && section->is_object()) spec.container_maps = maps_of(*section);
    auto mounts = document.find("mounts");
    if (mounts == document.end() || mounts->is_null()) {
        spec.mounts_json = "[]";
        return true;
    }
    if (!mounts->is_array()) return error = "config.json: mounts is not an array", false;
    int index = 0;
    for (const Json& mount : *mounts)
        if (!parse_mount(mount, index++, bundle, spec, error)) return false;
    spec.mounts_json = mounts->dump(-1, ' ', false, Json::error_handler_t::replace);
    return true;
}

std::string mounts_with_destinations(const GoferSpec& spec, const std::vector<std::string>& destinations) {
    Json mounts = Json::parse(spec.mounts_json, nullptr, false);
    for (size_t i = 0; i < destinations.size() && i < mounts.size(); i++) mounts[i]["destination"] = destinations[i];
    return mounts.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kvmsbx::gofer
