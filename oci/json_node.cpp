#include "oci/json_node.hpp"

namespace kvmsbx::oci {
namespace {

// "a number", "an object": nlohmann's names do not tell integers from each other, which is what a reader wants.
std::string describe(const nlohmann::json& value) {
    if (value.is_null()) return "null";
    const std::string name = value.type_name();
    return (name == "object" || name == "array" ? "an " : "a ") + name;
}

}  // namespace

Outcome<> JsonNode::expect_object() const {
    if (value_->is_object()) return {};
    const std::string problem = "expected an object, found " + describe(*value_);
    return path_.empty() ? Failure{problem} : wrong(problem);
}

Outcome<std::optional<JsonNode>> JsonNode::find(const char* key) const {
    TRY(expect_object());
    auto member = value_->find(key);
    if (member == value_->end() || member->is_null()) return std::optional<JsonNode>{};
    return std::optional<JsonNode>(JsonNode(*member, child_path(key)));
}

Outcome<JsonNode> JsonNode::require(const char* key, const char* purpose) const {
    std::optional<JsonNode> member = TRY(find(key));
    if (member) return *member;
    return Failure{child_path(key) + ": missing; it says " + purpose};
}

Outcome<std::string> JsonNode::string(size_t max_bytes) const {
    if (!value_->is_string()) return wrong("expected a string, found " + describe(*value_));
    const std::string& text = value_->get_ref<const std::string&>();
    if (text.size() > max_bytes) {
        return wrong("a string of " + std::to_string(text.size()) + " bytes; at most " + std::to_string(max_bytes) +
                     " are allowed");
    }
    if (text.find('\0') != std::string::npos) return wrong("the string contains a NUL character");
    return text;
}

Outcome<bool> JsonNode::boolean() const {
    if (!value_->is_boolean()) return wrong("expected true or false, found " + describe(*value_));
    return value_->get<bool>();
}

Outcome<uint64_t> JsonNode::unsigned_number(uint64_t max) const {
    if (!value_->is_number()) return wrong("expected a number, found " + describe(*value_));
    if (!value_->is_number_unsigned() || value_->get<uint64_t>() > max) {
        return wrong("expected an integer from 0 to " + std::to_string(max) + ", found " + value_->dump());
    }
    return value_->get<uint64_t>();
}

Outcome<int64_t> JsonNode::signed_number(int64_t min, int64_t max) const {
    if (!value_->is_number()) return wrong("expected a number, found " + describe(*value_));
    const bool too_large = value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
    if (!value_->is_number_integer() || too_large || value_->get<int64_t>() < min || value_->get<int64_t>() > max) {
        return wrong("expected an integer from " + std::to_string(min) + " to " + std::to_string(max) + ", found " +
                     value_->dump());
    }
    return value_->get<int64_t>();
}

Outcome<std::vector<std::pair<std::string, JsonNode>>> JsonNode::entries(size_t max_count) const {
    TRY(expect_object());
    if (value_->size() > max_count) return wrong("more than " + std::to_string(max_count) + " entries");
    std::vector<std::pair<std::string, JsonNode>> nodes;
    nodes.reserve(value_->size());
    for (const auto& [name, value] : value_->items()) {
        if (name.find('\0') != std::string::npos) return wrong("a name contains a NUL character");
        nodes.emplace_back(name, JsonNode(value, child_path(name)));
    }
    return nodes;
}

Outcome<std::vector<JsonNode>> JsonNode::elements(size_t max_count) const {
    if (!value_->is_array()) return wrong("expected an array, found " + describe(*value_));
    if (value_->size() > max_count) {
        return wrong(std::to_string(value_->size()) + " entries; at most " + std::to_string(max_count) +
                     " are allowed");
    }
    std::vector<JsonNode> nodes;
    nodes.reserve(value_->size());
    for (const nlohmann::json& element : *value_) {
        nodes.emplace_back(element, path_ + "[" + std::to_string(nodes.size()) + "]");
    }
    return nodes;
}

Outcome<std::vector<std::string>> JsonNode::strings(size_t max_count, size_t max_bytes) const {
    std::vector<std::string> texts;
    for (const JsonNode& node : TRY(elements(max_count))) texts.push_back(TRY(node.string(max_bytes)));
    return texts;
}

Outcome<std::string> JsonNode::string_or(const char* key, std::string fallback, size_t max_bytes) const {
    std::optional<JsonNode> member = TRY(find(key));
    if (!member) return fallback;
    return member->string(max_bytes);
}

Outcome<std::optional<uint64_t>> JsonNode::unsigned_or_none(const char* key, uint64_t max) const {
    std::optional<JsonNode> member = TRY(find(key));
    if (!member) return std::optional<uint64_t>{};
    return std::optional<uint64_t>(TRY(member->unsigned_number(max)));
}

Outcome<std::optional<int64_t>> JsonNode::signed_or_none(const char* key, int64_t min, int64_t max) const {
    std::optional<JsonNode> member = TRY(find(key));
    if (!member) return std::optional<int64_t>{};
    return std::optional<int64_t>(TRY(member->signed_number(min, max)));
}

Outcome<bool> JsonNode::boolean_or(const char* key, bool fallback) const {
    std::optional<JsonNode> member = TRY(find(key));
    if (!member) return fallback;
    return member->boolean();
}

Outcome<std::vector<std::string>> JsonNode::strings_or_none(const char* key, size_t max_count, size_t max_bytes) const {
    std::optional<JsonNode> member = TRY(find(key));
    if (!member) return std::vector<std::string>{};
    return member->strings(max_count, max_bytes);
}

}  // namespace kvmsbx::oci
