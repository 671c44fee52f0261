// The messages of the handshake.
#ifndef RAMVOL_NBD_BRIDGE_PROTOCOL_OPTION_H_
#define RAMVOL_NBD_BRIDGE_PROTOCOL_OPTION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/nbd_constants.h"

namespace ramvol::nbd {

// The server's first bytes: magic numbers and its flags.
std::string EncodeGreeting();

struct OptionHeader {
  uint32_t option = 0;
  uint32_t length = 0;  // Bytes of data that follow.
};
inline constexpr size_t kOptionHeaderBytes = 16;
// `bytes` has kOptionHeaderBytes. False when the magic number is wrong.
[[nodiscard]] bool DecodeOptionHeader(const char* bytes, OptionHeader* header);

std::string EncodeOptionReply(uint32_t option, OptionReply type,
                              absl::string_view data);

// The data of NBD_OPT_INFO and NBD_OPT_GO.
struct InfoRequest {
  std::string name;
  std::vector<uint16_t> infos;
  bool Wants(Info info) const;
};
// INVALID_ARGUMENT says what is wrong.
absl::StatusOr<InfoRequest> ParseInfoRequest(absl::string_view data);

// The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.
struct MetaContextRequest {
  std::string name;
  std::vector<std::string> queries;
};
absl::StatusOr<MetaContextRequest> ParseMetaContextRequest(
    absl::string_view data);

// The data of replies.
std::string EncodeServer(absl::string_view name);
std::string EncodeInfoExport(uint64_t size_bytes, uint16_t flags);
std::string EncodeInfoName(absl::string_view name);
std::string EncodeInfoBlockSize();
std::string EncodeMetaContext(uint32_t id, absl::string_view name);

// The answer to NBD_OPT_EXPORT_NAME, which has no option reply header.
std::string EncodeExportName(uint64_t size_bytes, uint16_t flags,
                             bool no_zeroes);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_PROTOCOL_OPTION_H_
