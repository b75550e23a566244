#pragma once
// As much of D-Bus's wire format (D-Bus specification, "Message Protocol") as a call to systemd takes: little-endian,
// strings, numbers, and properties of a few types.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace kvmsbx::oci {

// A property of a unit: s, b, t, au or ay.
struct DbusProperty {
    std::string name;
    std::variant<std::string, bool, uint64_t, std::vector<uint32_t>, std::vector<uint8_t>> value;
};

class DbusWriter {
  public:
    void put_u8(uint8_t value) { bytes_ += static_cast<char>(value); }
    void put_u32(uint32_t value);
    void put_u64(uint64_t value);
    void put_bool(bool value) { put_u32(value ? 1 : 0); }
    void put_string(std::string_view text);                            // s, o
    void put_signature(std::string_view text);                         // g
    void put_properties(const std::vector<DbusProperty>& properties);  // a(sv)
    void put_empty_structs() { end_array(begin_array(8)); }            // a(...) without an element
    void align(size_t boundary) { bytes_.resize((bytes_.size() + boundary - 1) / boundary * boundary, '\0'); }

    const std::string& bytes() const { return bytes_; }

  private:
    void put_value(const DbusProperty& property);
    // The length of an array comes before it: what follows begin_array() until end_array(), without the padding.
    size_t begin_array(size_t element_alignment);
    void end_array(size_t start);

    std::string bytes_;
};

// Bounds-checked: after the first value that is not there, ok() is false and all else empty.
class DbusReader {
  public:
    explicit DbusReader(std::string_view bytes) : bytes_(bytes) {}

    uint8_t take_u8();
    uint32_t take_u32();
    std::string take_string();     // s, o
    std::string take_signature();  // g
    // A value of type s, o, g or u with its signature before it; others end the reading. A number is given in decimal.
    std::string take_variant();
    void align(size_t boundary);
    bool at_end() const { return position_ >= bytes_.size(); }
    bool ok() const { return ok_; }

  private:
    std::string_view take(size_t count);

    std::string_view bytes_;
    size_t position_ = 0;
    bool ok_ = true;
};

struct DbusCall {
    std::string path, interface, member, signature, body;
};
std::string encode_call(const DbusCall& call, uint32_t serial);

// A message that came in.
struct DbusMessage {
    enum Type : uint8_t { kReturn = 2, kError = 3, kSignal = 4 };
    uint8_t type = 0;
    uint32_t reply_serial = 0;
    std::string member, error_name, signature, body;
};

// How long the message is that begins so; 0: not enough bytes to tell. Nothing: no message of ours.
std::optional<size_t> message_length(std::string_view bytes);
// The bytes of one whole message.
std::optional<DbusMessage> decode_message(std::string_view bytes);

}  // namespace kvmsbx::oci
