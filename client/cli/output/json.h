// Messages as JSON and YAML, for scripts.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_

#include <string>

#include "google/protobuf/message.h"

namespace ramvol::cli {

// In protobuf's JSON: names in camelCase, numbers of 64 bits as strings, all
// fields present. Indented, with a newline at the end.
std::string ToJson(const google::protobuf::Message& message);

// The same on one line.
std::string ToJsonLine(const google::protobuf::Message& message);

// The same in block style, keys in order of the alphabet. Text that is no plain
// word is in double quotes.
std::string ToYaml(const google::protobuf::Message& message);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_
