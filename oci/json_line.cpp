// From a path such as "process.args[1]" to a line of the text. Only failures need it, so the parser keeps no positions:
// this walks the text once more.
#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "oci/spec.hpp"

namespace kvmsbx::oci {
namespace {

// Iterates over the text and tells how many bytes the lexer has taken.
struct CountingIterator {
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = const char&;

    const char* position;
    size_t* consumed;

    reference operator*() const { return *position; }
    CountingIterator& operator++() {
        ++position;
        ++*consumed;
        return *this;
    }
    bool operator==(const CountingIterator& other) const { return position == other.position; }
    bool operator!=(const CountingIterator& other) const { return position != other.position; }
};

// Follows the path through the document and remembers where its longest prefix stood.
class PathFinder : public nlohmann::json_sax<nlohmann::json> {
  public:
    PathFinder(std::string_view target, const size_t& consumed) : target_(target), consumed_(consumed) {}

    size_t offset() const { return offset_; }

    bool null() override { return value(); }
    bool boolean(bool) override { return value(); }
    bool number_integer(number_integer_t) override { return value(); }
    bool number_unsigned(number_unsigned_t) override { return value(); }
    bool number_float(number_float_t, const string_t&) override { return value(); }
    bool string(string_t&) override { return value(); }
    bool binary(binary_t&) override { return value(); }
    bool start_object(size_t) override { return open(false); }
    bool end_object() override { return close(); }
    bool start_array(size_t) override { return open(true); }
    bool end_array() override { return close(); }
    bool key(string_t& name) override {
        key_ = name;
        return true;
    }
    bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

  private:
    struct Level {
        std::string path;
        bool is_array;
        size_t next_index;
    };

    std::string next_path() {
        if (levels_.empty()) return "";
        Level& level = levels_.back();
        if (level.is_array) return level.path + "[" + std::to_string(level.next_index++) + "]";
        return level.path.empty() ? key_ : level.path + "." + key_;
    }
    bool is_prefix(const std::string& path) const {
        if (!target_.starts_with(path)) return false;
        return path.empty() || path.size() == target_.size() || target_[path.size()] == '.' ||
               target_[path.size()] == '[';
    }
    // Where a key stands twice the last one counts, as for the parser.
    void note(const std::string& path) {
        if (!is_prefix(path) || path.size() < best_length_) return;
        best_length_ = path.size();
        offset_ = consumed_;
    }
    bool value() {
        if (skipped_depth_ == 0) note(next_path());
        return true;
    }
    // Below a value that is not on the way to the target only the depth is kept: hostile nesting must not cost memory.
    bool open(bool is_array) {
        std::string path = skipped_depth_ > 0 ? "" : next_path();
        if (skipped_depth_ > 0 || !is_prefix(path)) {
            ++skipped_depth_;
            return true;
        }
        note(path);
        levels_.push_back({std::move(path), is_array, 0});
        return true;
    }
    bool close() {
        if (skipped_depth_ > 0) {
            --skipped_depth_;
        } else {
            levels_.pop_back();
        }
        return true;
    }

    std::string_view target_;
    const size_t& consumed_;
    std::vector<Level> levels_;
    size_t skipped_depth_ = 0;
    std::string key_;
    size_t best_length_ = 0;
    size_t offset_ = 0;
};

}  // namespace

size_t find_line(std::string_view text, std::string_view path) {
    size_t consumed = 0;
    PathFinder finder(path, consumed);
    const CountingIterator begin{text.data(), &consumed}, end{text.data() + text.size(), &consumed};
    nlohmann::json::sax_parse(begin, end, &finder);
    if (finder.offset() == 0) return 0;
    // The lexer takes one byte more than a number has; that byte may be the line's end.
    const std::string_view before = text.substr(0, finder.offset() - 1);
    return 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
}

}  // namespace kvmsbx::oci
