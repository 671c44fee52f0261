#include "client/cli/output/json.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/type_resolver.h"
#include "google/protobuf/util/type_resolver_util.h"

namespace ramvol::cli {
namespace {

constexpr char kTypeUrlPrefix[] = "type.googleapis.com";

// MessageToJsonString writes map entries in the order of a hash table.
std::string SerializeInOrder(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

std::string Serialize(const google::protobuf::Message& message,
                      bool add_whitespace) {
  const std::unique_ptr<google::protobuf::util::TypeResolver> resolver(
      google::protobuf::util::NewTypeResolverForDescriptorPool(
          kTypeUrlPrefix, message.GetDescriptor()->file()->pool()));
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = add_whitespace;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::BinaryToJsonString(
      resolver.get(),
      absl::StrCat(kTypeUrlPrefix, "/", message.GetDescriptor()->full_name()),
      SerializeInOrder(message), &json, options);
  // Fails only for a message that does not match its own descriptor.
  return status.ok() ? json : "{}\n";
}

std::string JsonString(const std::string& value) {
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&text, "\\u%04x", static_cast<unsigned>(c));
    } else {
      text += c;
    }
  }
  return text + "\"";
}

// Whether YAML reads plain `text` as that text, and not as a number, a boolean
// or syntax.
bool IsPlainWord(const std::string& text) {
  static constexpr absl::string_view kOthers[] = {
      "true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  const std::string lower = absl::AsciiStrToLower(text);
  return !text.empty() && absl::ascii_isalpha(text[0]) &&
         absl::c_all_of(text,
                        [](unsigned char c) {
                          return absl::ascii_isalnum(c) || c == '_' ||
                                 c == '-' || c == '.' || c == '/';
                        }) &&
         !absl::c_linear_search(kOthers, lower);
}

std::string YamlString(const std::string& text) {
  return IsPlainWord(text) ? text : JsonString(text);
}

std::string YamlNumber(double number) {
  const auto whole = static_cast<int64_t>(number);
  return static_cast<double>(whole) == number
             ? absl::StrCat(whole)
             : absl::StrFormat("%.17g", number);
}

using google::protobuf::Value;

void AppendYaml(const Value& value, const std::string& indent,
                std::string* out);

// Writes a value after "key:" or "-", on the same line if it fits there.
void AppendYamlNested(const Value& value, const std::string& indent,
                      std::string* out) {
  const bool scalar = !value.has_struct_value() && !value.has_list_value();
  const bool empty =
      (value.has_struct_value() && value.struct_value().fields().empty()) ||
      (value.has_list_value() && value.list_value().values().empty());
  absl::StrAppend(out, scalar || empty ? " " : "\n");
  AppendYaml(value, indent, out);
}

void AppendYamlFields(const google::protobuf::Struct& fields,
                      const std::string& indent, std::string* out) {
  const std::map<std::string, Value> sorted(fields.fields().begin(),
                                            fields.fields().end());
  if (sorted.empty()) absl::StrAppend(out, "{}\n");
  for (const auto& [key, value] : sorted) {
    absl::StrAppend(out, indent, YamlString(key), ":");
    AppendYamlNested(value, indent + "  ", out);
  }
}

void AppendYamlList(const google::protobuf::ListValue& list,
                    const std::string& indent, std::string* out) {
  if (list.values().empty()) absl::StrAppend(out, "[]\n");
  for (const Value& value : list.values()) {
    std::string item;
    AppendYaml(value, indent + "  ", &item);
    // The dash stands in place of the first line's indentation.
    if (value.has_struct_value()) item.erase(0, indent.size() + 2);
    absl::StrAppend(out, indent, "- ", item);
  }
}

void AppendYaml(const Value& value, const std::string& indent,
                std::string* out) {
  switch (value.kind_case()) {
    case Value::kStructValue:
      return AppendYamlFields(value.struct_value(), indent, out);
    case Value::kListValue:
      return AppendYamlList(value.list_value(), indent, out);
    case Value::kStringValue:
      return absl::StrAppend(out, YamlString(value.string_value()), "\n");
    case Value::kNumberValue:
      return absl::StrAppend(out, YamlNumber(value.number_value()), "\n");
    case Value::kBoolValue:
      return absl::StrAppend(out, value.bool_value() ? "true\n" : "false\n");
    default:
      return absl::StrAppend(out, "null\n");
  }
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  return Serialize(message, /*add_whitespace=*/true);
}

std::string ToJsonLine(const google::protobuf::Message& message) {
  return Serialize(message, /*add_whitespace=*/false) + "\n";
}

std::string ToYaml(const google::protobuf::Message& message) {
  Value value;
  const auto parsed =
      google::protobuf::util::JsonStringToMessage(ToJsonLine(message), &value);
  std::string yaml;
  if (parsed.ok()) AppendYaml(value, "", &yaml);
  return yaml;
}

}  // namespace ramvol::cli
