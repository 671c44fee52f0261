// Messages as JSON and YAML, for scripts.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_

#include <string>

#include "google/protobuf/message.h"

namespace ramvol::cli {

// Protobuf's JSON: names in camelCase, numbers of 64 bits as strings, all
// fields present. Indented, with a newline at the end.
std::string ToJson(const google::protobuf::Message& message);

// The same on one line.
std::string ToJsonLine(const google::protobuf::Message& message);

// The same as YAML in block style, with sorted keys. Text that is not a plain
// word is in double quotes.
std::string ToYaml(const google::protobuf::Message& message);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_
