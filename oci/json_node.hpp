#pragma once
// A JSON value together with its path in the document, with typed and capped reads. Every failed read is a Failure
// "PATH: what is wrong"; the parser puts file and line before it. Internal to the parser: no other file needs
// nlohmann's header for a Spec.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "oci/outcome.hpp"

namespace kvmsbx::oci {

class JsonNode {
  public:
    JsonNode(const nlohmann::json& value, std::string path) : value_(&value), path_(std::move(path)) {}

    const std::string& path() const { return path_; }
    const nlohmann::json& value() const { return *value_; }
    Failure wrong(const std::string& problem) const { return Failure{path_ + ": " + problem}; }

    // The member of that name; nothing when absent or null. Fails if this is no object.
    Outcome<std::optional<JsonNode>> find(const char* key) const;
    // The same, but absent is a failure that says what the field is for.
    Outcome<JsonNode> require(const char* key, const char* purpose) const;

    Outcome<> expect_object() const;
    Outcome<std::string> string(size_t max_bytes) const;
    Outcome<bool> boolean() const;
    Outcome<uint64_t> unsigned_number(uint64_t max) const;
    Outcome<int64_t> signed_number(int64_t min, int64_t max) const;
    Outcome<std::vector<JsonNode>> elements(size_t max_count) const;
    // The members of an object used as a map: names without NUL.
    Outcome<std::vector<std::pair<std::string, JsonNode>>> entries(size_t max_count) const;
    Outcome<std::vector<std::string>> strings(size_t max_count, size_t max_bytes) const;

    // The member of that name, or the default when it is absent.
    Outcome<std::string> string_or(const char* key, std::string fallback, size_t max_bytes) const;
    Outcome<std::optional<uint64_t>> unsigned_or_none(const char* key, uint64_t max) const;
    Outcome<std::optional<int64_t>> signed_or_none(const char* key, int64_t min, int64_t max) const;
    Outcome<bool> boolean_or(const char* key, bool fallback) const;
    Outcome<std::vector<std::string>> strings_or_none(const char* key, size_t max_count, size_t max_bytes) const;

    std::string child_path(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }

  private:
    const nlohmann::json* value_;
    std::string path_;
};

}  // namespace kvmsbx::oci
