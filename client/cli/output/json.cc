#include "client/cli/output/json.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/type_resolver.h"
#include "google/protobuf/util/type_resolver_util.h"

namespace ramvol::cli {
namespace {

constexpr char kTypeUrlPrefix[] = "type.googleapis.com";

// MessageToJsonString would serialize map entries in the order of a hash.
std::string SerializeInOrder(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  const std::unique_ptr<google::protobuf::util::TypeResolver> resolver(
      google::protobuf::util::NewTypeResolverForDescriptorPool(
          kTypeUrlPrefix, message.GetDescriptor()->file()->pool()));
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::BinaryToJsonString(
      resolver.get(),
      absl::StrCat(kTypeUrlPrefix, "/", message.GetDescriptor()->full_name()),
      SerializeInOrder(message), &json, options);
  // Fails only for a message that contradicts its own descriptor.
  if (!status.ok()) return "{}\n";
  return json;
}

std::string ToJson(
    const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string text = "{";
  const char* separator = "\n";
  for (const auto& [key, value] : fields) {
    absl::StrAppend(&text, separator, " ", JsonString(key), ": ", value);
    separator = ",\n";
  }
  return absl::StrCat(text, "\n}\n");
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

std::string JsonNumber(int64_t value) {
  return absl::StrCat("\"", value, "\"");
}

}  // namespace ramvol::cli
