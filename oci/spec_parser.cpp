#include "oci/spec_parser.hpp"

#include <sys/utsname.h>

namespace kvmsbx::oci {

using nlohmann::json;

namespace parser {

Outcome<std::string> absolute_path(const JsonNode& node) {
    std::string path = TRY(node.string(kMaxPathBytes));
    if (path.empty() || path[0] != '/')
        return node.wrong("expected an absolute path, found \"" + path.substr(0, 80) + "\"");
    return path;
}

Outcome<std::map<std::string, std::string>> parse_string_map(const JsonNode& parent, const char* key) {
    std::map<std::string, std::string> map;
    std::optional<JsonNode> node = TRY(parent.find(key));
    if (!node) return map;
    for (const auto& [name, value] : TRY(node->entries(kMaxListEntries)))
        map[name] = TRY(value.string(kMaxStringBytes));
    return map;
}

namespace {

Outcome<std::string> parse_host_name(const JsonNode& document, const char* key) {
    std::string name = TRY(document.string_or(key, "", kMaxStringBytes));
    constexpr size_t kMaxHostName = sizeof(utsname{}.nodename) - 1;
    if (name.size() <= kMaxHostName) return name;
    return Failure{std::string(key) + ": " + std::to_string(name.size()) + " bytes; Linux allows " +
                   std::to_string(kMaxHostName)};
}

// An idmapped mount without mappings of its own takes the container's.
Outcome<> check_mapped_mounts(const Spec& spec) {
    for (size_t i = 0; i < spec.mounts.size(); ++i) {
        const MountSpec& mount = spec.mounts[i];
        if (!mount.idmapped || !mount.uid_mappings.empty() || !spec.uid_mappings.empty()) continue;
        return Failure{"mounts[" + std::to_string(i) +
                       "].options: idmap needs uidMappings and gidMappings, of the mount or of linux"};
    }
    return {};
}

Outcome<Spec> parse_document(const JsonNode& document) {
    TRY(document.expect_object());
    Spec spec;
    const JsonNode version =
        TRY(document.require("ociVersion", "which runtime specification the file follows (\"1.1.0\")"));
    spec.oci_version = TRY(version.string(64));
    if (!spec.oci_version.starts_with("1."))
        return version.wrong("version \"" + spec.oci_version + "\" is not supported; 1.x is");
    const JsonNode root =
        TRY(document.require("root", "where the root file system is (\"root\": {\"path\": \"rootfs\"})"));
    const JsonNode root_path = TRY(root.require("path", "where the root file system is"));
    spec.root_path = TRY(root_path.string(kMaxPathBytes));
    if (spec.root_path.empty()) return root_path.wrong("empty; give the root file system's folder (\"rootfs\")");
    spec.root_readonly = TRY(root.boolean_or("readonly", false));
    spec.process = TRY(parse_process(TRY(document.require("process", "what to run"))));
    spec.hostname = TRY(parse_host_name(document, "hostname"));
    spec.domainname = TRY(parse_host_name(document, "domainname"));
    spec.mounts = TRY(parse_mounts(document));
    spec.hooks = TRY(parse_hooks(document));
    TRY(parse_linux(document, spec));
    spec.annotations = TRY(parse_string_map(document, "annotations"));
    TRY(check_mapped_mounts(spec));
    append_unapplied(document, "", spec.unapplied);
    return spec;
}

// A message quotes names and text of the file: they must not break the line or play with the terminal.
std::string printable(std::string text) {
    constexpr size_t kMaxMessage = 1000;
    if (text.size() > kMaxMessage) text = text.substr(0, kMaxMessage) + "...";
    for (char& c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    return text;
}

// "line 3: syntax error ... - unexpected end of input" out of nlohmann's "[json.exception.parse_error.101] parse error
// at line 3, column 5: syntax error ...".
std::string describe_syntax_error(std::string_view text, const json::parse_error& error) {
    const std::string_view before = text.substr(0, error.byte > 0 ? error.byte - 1 : 0);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    std::string what = error.what();
    const size_t detail = what.find(": ");
    if (detail != std::string::npos) what = what.substr(detail + 2);
    constexpr size_t kMaxDetail = 200;  // the text quoted is the file's own
    if (what.size() > kMaxDetail) what = what.substr(0, kMaxDetail) + "...";
    return "line " + std::to_string(line) + ": not valid JSON: " + what;
}

// Reads a document: the text becomes JSON, and a failure a line with file and line number.
template <typename Read>
auto read_document(std::string_view text, const std::string& file, const Read& read)
    -> decltype(read(std::declval<const JsonNode&>())) {
    if (text.size() > kMaxConfigBytes) {
        return Failure{file + ": " + std::to_string(text.size()) + " bytes; at most " +
                       std::to_string(kMaxConfigBytes) + " are allowed"};
    }
    json document;
    try {
        document = json::parse(text);
    } catch (const json::parse_error& error) {
        return Failure{file + ": " + printable(describe_syntax_error(text, error))};
    } catch (const json::exception& error) {
        return Failure{file + ": not valid JSON: " + error.what()};  // a number out of every range
    }
    auto result = read(JsonNode(document, ""));
    if (result.is_ok()) return result;
    const std::string& message = result.error().message;
    const size_t line = find_line(text, message.substr(0, message.find(": ")));
    return Failure{file + ": " + (line ? "line " + std::to_string(line) + ": " : "") + printable(message)};
}

}  // namespace
}  // namespace parser

Outcome<Spec> parse_spec(std::string_view text, const std::string& file) {
    return parser::read_document(text, file, parser::parse_document);
}

Outcome<ProcessSpec> parse_process(std::string_view text, const std::string& file,
                                   std::vector<UnappliedField>& unapplied) {
    return parser::read_document(text, file, [&](const JsonNode& node) -> Outcome<ProcessSpec> {
        ProcessSpec process = TRY(parser::parse_process(node));
        parser::append_unapplied(node, "process", unapplied);
        return process;
    });
}

Outcome<Resources> parse_resources(std::string_view text, const std::string& file,
                                   std::vector<UnappliedField>& unapplied) {
    return parser::read_document(text, file, [&](const JsonNode& node) -> Outcome<Resources> {
        Resources resources = TRY(parser::parse_resources(node));
        parser::append_unapplied(node, "linux.resources", unapplied);
        return resources;
    });
}

}  // namespace kvmsbx::oci
