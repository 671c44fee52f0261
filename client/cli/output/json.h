// Messages as JSON, for scripts.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/message.h"

namespace ramvol::cli {

// The message in protobuf's JSON mapping (as grpcurl prints it: camelCase
// names, 64-bit numbers as strings), indented, ended by a newline. Every field
// is there, also those that are zero, and the same message gives the same text:
// map entries are in order of their keys.
std::string ToJson(const google::protobuf::Message& message);

// An object of plain words and numbers in the same shape, for what is no
// message. Values are ready JSON: JsonString and JsonNumber make it.
std::string ToJson(
    const std::vector<std::pair<std::string, std::string>>& fields);
std::string JsonString(const std::string& value);
// A string too, as protobuf has it for 64 bits.
std::string JsonNumber(int64_t value);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_JSON_H_
