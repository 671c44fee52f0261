#include "nbd_bridge/protocol/option.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nbd_bridge/protocol/wire.h"

namespace ramvol::nbd {
namespace {

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the option's data is malformed: ", what));
}

// A 32-bit length, then that many bytes.
absl::Status ReadString(WireReader& reader, absl::string_view what,
                        std::string* text) {
  uint32_t length = 0;
  absl::string_view bytes;
  if (!reader.Number(&length) || !reader.Bytes(length, &bytes)) {
    return Malformed(absl::StrCat("its ", what, " reaches past its end"));
  }
  if (length > kMaxStringBytes) {
    return Malformed(absl::StrCat("its ", what, " has ", length,
                                  " bytes; at most ", kMaxStringBytes,
                                  " are allowed"));
  }
  *text = std::string(bytes);
  return absl::OkStatus();
}

WireWriter InfoHead(Info info) {
  WireWriter writer;
  writer.Number(static_cast<uint16_t>(info));
  return writer;
}

}  // namespace

std::string EncodeGreeting() {
  return WireWriter()
      .Number(kInitMagic)
      .Number(kOptionMagic)
      .Number(static_cast<uint16_t>(kFlagFixedNewstyle | kFlagNoZeroes))
      .text();
}

bool DecodeOptionHeader(const char* bytes, OptionHeader* header) {
  header->option = Get<uint32_t>(bytes + 8);
  header->length = Get<uint32_t>(bytes + 12);
  return Get<uint64_t>(bytes) == kOptionMagic;
}

std::string EncodeOptionReply(uint32_t option, OptionReply type,
                              absl::string_view data) {
  return WireWriter()
      .Number(kOptionReplyMagic)
      .Number(option)
      .Number(static_cast<uint32_t>(type))
      .Number(static_cast<uint32_t>(data.size()))
      .Bytes(data)
      .text();
}

bool InfoRequest::Wants(Info info) const {
  return std::find(infos.begin(), infos.end(), static_cast<uint16_t>(info)) !=
         infos.end();
}

absl::StatusOr<InfoRequest> ParseInfoRequest(absl::string_view data) {
  WireReader reader(data);
  InfoRequest request;
  absl::Status status = ReadString(reader, "name", &request.name);
  if (!status.ok()) return status;
  uint16_t count = 0;
  if (!reader.Number(&count)) return Malformed("it ends before the requests");
  request.infos.resize(count);
  for (uint16_t& info : request.infos) {
    if (!reader.Number(&info)) {
      return Malformed(
          absl::StrCat("it ends before its ", count, " information requests"));
    }
  }
  if (!reader.empty()) return Malformed("bytes follow its end");
  return request;
}

absl::StatusOr<MetaContextRequest> ParseMetaContextRequest(
    absl::string_view data) {
  WireReader reader(data);
  MetaContextRequest request;
  absl::Status status = ReadString(reader, "name", &request.name);
  if (!status.ok()) return status;
  uint32_t count = 0;
  if (!reader.Number(&count)) return Malformed("it ends before the queries");
  for (uint32_t i = 0; i < count; ++i) {
    std::string query;
    status = ReadString(reader, "query", &query);
    if (!status.ok()) return status;
    request.queries.push_back(std::move(query));
  }
  if (!reader.empty()) return Malformed("bytes follow its end");
  return request;
}

std::string EncodeServer(absl::string_view name) {
  return WireWriter()
      .Number(static_cast<uint32_t>(name.size()))
      .Bytes(name)
      .text();
}

std::string EncodeInfoExport(uint64_t size_bytes, uint16_t flags) {
  return InfoHead(Info::kExport).Number(size_bytes).Number(flags).text();
}

std::string EncodeInfoName(absl::string_view name) {
  return InfoHead(Info::kName).Bytes(name).text();
}

std::string EncodeInfoBlockSize() {
  return InfoHead(Info::kBlockSize)
      .Number(kMinBlockBytes)
      .Number(kPreferredBlockBytes)
      .Number(kMaxPayloadBytes)
      .text();
}

std::string EncodeMetaContext(uint32_t id, absl::string_view name) {
  return WireWriter().Number(id).Bytes(name).text();
}

std::string EncodeExportName(uint64_t size_bytes, uint16_t flags,
                             bool no_zeroes) {
  WireWriter writer;
  writer.Number(size_bytes).Number(flags);
  if (!no_zeroes) writer.Bytes(std::string(kExportNamePaddingBytes, '\0'));
  return writer.text();
}

}  // namespace ramvol::nbd
