#include "oci/container/dbus_message.hpp"

#include <charconv>
#include <cstring>

namespace kvmsbx::oci {
namespace {

constexpr size_t kFixedHeader = 16;          // up to the length of the field array
constexpr size_t kMaxMessage = 1024 * 1024;  // D-Bus allows more, systemd sends less

enum HeaderField : uint8_t { kPath = 1, kInterface = 2, kMember = 3, kErrorName = 4, kReplySerial = 5, kSignature = 8 };

uint32_t u32_at(std::string_view bytes, size_t at) {
    uint32_t value = 0;
    memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

size_t aligned(size_t value, size_t boundary) { return (value + boundary - 1) / boundary * boundary; }

}  // namespace

void DbusWriter::put_u32(uint32_t value) {
    align(4);
    char raw[sizeof value];
    memcpy(raw, &value, sizeof value);
    bytes_.append(raw, sizeof raw);
}

void DbusWriter::put_u64(uint64_t value) {
    align(8);
    char raw[sizeof value];
    memcpy(raw, &value, sizeof value);
    bytes_.append(raw, sizeof raw);
}

void DbusWriter::put_string(std::string_view text) {
    put_u32(static_cast<uint32_t>(text.size()));
    bytes_.append(text).push_back('\0');
}

void DbusWriter::put_signature(std::string_view text) {
    put_u8(static_cast<uint8_t>(text.size()));
    bytes_.append(text).push_back('\0');
}

size_t DbusWriter::begin_array(size_t element_alignment) {
    put_u32(0);
    const size_t length_at = bytes_.size() - 4;
    align(element_alignment);
    return length_at << 8 | (bytes_.size() - length_at - 4);
}

void DbusWriter::end_array(size_t start) {
    const size_t length_at = start >> 8, padding = start & 0xff;
    const auto length = static_cast<uint32_t>(bytes_.size() - length_at - 4 - padding);
    memcpy(bytes_.data() + length_at, &length, sizeof length);
}

void DbusWriter::put_value(const DbusProperty& property) {
    if (const auto* text = std::get_if<std::string>(&property.value)) {
        put_signature("s");
        put_string(*text);
    } else if (const auto* flag = std::get_if<bool>(&property.value)) {
        put_signature("b");
        put_bool(*flag);
    } else if (const auto* number = std::get_if<uint64_t>(&property.value)) {
        put_signature("t");
        put_u64(*number);
    } else if (const auto* numbers = std::get_if<std::vector<uint32_t>>(&property.value)) {
        put_signature("au");
        const size_t array = begin_array(4);
        for (const uint32_t each : *numbers) put_u32(each);
        end_array(array);
    } else if (const auto* raw = std::get_if<std::vector<uint8_t>>(&property.value)) {
        put_signature("ay");
        const size_t array = begin_array(1);
        for (const uint8_t each : *raw) put_u8(each);
        end_array(array);
    }
}

void DbusWriter::put_properties(const std::vector<DbusProperty>& properties) {
    const size_t array = begin_array(8);
    for (const DbusProperty& property : properties) {
        align(8);
        put_string(property.name);
        put_value(property);
    }
    end_array(array);
}

std::string_view DbusReader::take(size_t count) {
    if (!ok_ || count > bytes_.size() - position_) {
        ok_ = false;
        return {};
    }
    const std::string_view taken = bytes_.substr(position_, count);
    position_ += count;
    return taken;
}

void DbusReader::align(size_t boundary) { take(aligned(position_, boundary) - position_); }

uint8_t DbusReader::take_u8() {
    const std::string_view bytes = take(1);
    return bytes.empty() ? uint8_t{0} : static_cast<uint8_t>(bytes[0]);
}

uint32_t DbusReader::take_u32() {
    align(4);
    const std::string_view bytes = take(4);
    return bytes.empty() ? 0 : u32_at(bytes, 0);
}

std::string DbusReader::take_string() {
    const std::string text(take(take_u32()));
    take(1);  // NUL
    return text;
}

std::string DbusReader::take_signature() {
    const std::string text(take(take_u8()));
    take(1);
    return text;
}

std::string DbusReader::take_variant() {
    const std::string signature = take_signature();
    if (signature == "s" || signature == "o") return take_string();
    if (signature == "g") return take_signature();
    if (signature == "u") return std::to_string(take_u32());
    ok_ = false;
    return "";
}

std::string encode_call(const DbusCall& call, uint32_t serial) {
    DbusWriter fields;  // the array begins at a multiple of 8 in the message, too
    const auto put = [&](HeaderField field, const char* type, const std::string& text) {
        fields.align(8);
        fields.put_u8(field);
        fields.put_signature(type);
        if (*type == 'g')
            fields.put_signature(text);
        else
            fields.put_string(text);
    };
    put(kPath, "o", call.path);
    put(kInterface, "s", call.interface);
    put(kMember, "s", call.member);
    if (!call.signature.empty()) put(kSignature, "g", call.signature);
    DbusWriter message;
    for (const char byte : {'l', '\1', '\0', '\1'}) message.put_u8(static_cast<uint8_t>(byte));  // a call, version 1
    message.put_u32(static_cast<uint32_t>(call.body.size()));
    message.put_u32(serial);
    message.put_u32(static_cast<uint32_t>(fields.bytes().size()));
    std::string bytes = message.bytes() + fields.bytes();
    bytes.resize(aligned(bytes.size(), 8), '\0');
    return bytes + call.body;
}

std::optional<size_t> message_length(std::string_view bytes) {
    if (bytes.size() < kFixedHeader) return size_t{0};
    if (bytes[0] != 'l' || bytes[3] != 1) return std::nullopt;
    const size_t body = u32_at(bytes, 4), fields = u32_at(bytes, 12);
    if (body > kMaxMessage || fields > kMaxMessage) return std::nullopt;
    return aligned(kFixedHeader + fields, 8) + body;
}

std::optional<DbusMessage> decode_message(std::string_view bytes) {
    const std::optional<size_t> length = message_length(bytes);
    if (!length || *length == 0 || *length != bytes.size()) return std::nullopt;
    const size_t fields = u32_at(bytes, 12);
    DbusMessage message;
    message.type = static_cast<uint8_t>(bytes[1]);
    message.body = bytes.substr(aligned(kFixedHeader + fields, 8));
    DbusReader reader(bytes.substr(kFixedHeader, fields));
    while (!reader.at_end() && reader.ok()) {
        reader.align(8);
        const uint8_t field = reader.take_u8();
        const std::string value = reader.take_variant();
        if (!reader.ok()) return std::nullopt;
        if (field == kMember) message.member = value;
        if (field == kErrorName) message.error_name = value;
        if (field == kSignature) message.signature = value;
        if (field == kReplySerial) std::from_chars(value.data(), value.data() + value.size(), message.reply_serial);
    }
    return message;
}

}  // namespace kvmsbx::oci
