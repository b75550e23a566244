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
    spec.binds.push_back(
        {index, absolute(source, bundle), recursive, has_option(mount, "ro") || has_option(mount, "rro")});
    return true;
}

}  // namespace

bool parse_spec(std::string_view text, const std::string& bundle, GoferSpec& spec, std::string& error) {
    Json document = Json::parse(text, nullptr, false);
    if (document.is_discarded() || !document.is_object()) return error = "config.json is not a JSON object", false;
    auto root = document.find("root");
    if (root == document.end() || !root->is_object()) return error = "config.json: root is missing", false;
    std::string path = text_of(*root, "path");
    if (path.empty()) return error = "config.json: root.path is missing", false;
    spec.root_path = absolute(path, bundle);
    auto readonly = root->find("readonly");
    spec.root_readonly = readonly != root->end() && *readonly == true;
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
