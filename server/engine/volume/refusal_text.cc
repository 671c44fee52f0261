#include "server/engine/volume/refusal_text.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "server/engine/counters/volume_counters.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/options.h"

namespace ramvol::engine {
namespace {

absl::Status TooLong(const Request& request) {
  return InvalidField(
      request.what == "read" ? "length" : "data",
      absl::StrCat("a ", request.what, " of ", request.length,
                   " bytes is longer than ", kMaxTransferBytes, "; cut it"),
      ReasonOf(Cause::kTooLong));
}

absl::Status WithoutReason(const Refusal& refusal, const Request& request,
                           absl::string_view volume, uint64_t size_bytes,
                           const Account* account) {
  const std::string name = absl::StrCat(
      volume[0] == '@' ? "snapshot \"" : "volume \"", volume, "\"");
  const std::string range = absl::StrCat(request.what, " of ", request.length,
                                         " bytes at offset ", request.offset);
  switch (refusal.cause) {
    case Cause::kDeleted:
      return absl::NotFoundError(
          absl::StrCat(name, " was deleted; open another, or create it again"));
    case Cause::kPastEnd:
      return absl::OutOfRangeError(
          absl::StrCat(range, " ends past ", name, " of ", size_bytes,
                       " bytes; shorten it, or resize the volume"));
    case Cause::kShrunk:
      return absl::OutOfRangeError(
          absl::StrCat(name, " was shrunk to ", size_bytes, " bytes during a ",
                       range, "; repeat it within the new size"));
    case Cause::kReadOnly:
      return absl::FailedPreconditionError(
          absl::StrCat(request.what, " refused: ", name,
                       " is read-only; set read_only to false to change it"));
    case Cause::kSnapshot:
      return absl::FailedPreconditionError(
          absl::StrCat(request.what, " refused: ", volume,
                       " is a snapshot, which never changes; clone it"));
    case Cause::kTooLong:
      return TooLong(request);
    case Cause::kVolumeLimit:
      return absl::ResourceExhaustedError(absl::StrCat(
          range, " of ", name, " does not fit: ", account->used_bytes(),
          " bytes of its memory limit of ", account->limit_bytes(),
          " are in use; trim it or raise memory_limit_bytes"));
    case Cause::kServerLimit:
      return absl::ResourceExhaustedError(absl::StrCat(
          range, " of ", name, " does not fit: ", account->arena().used_bytes(),
          " bytes of the server's memory limit of ",
          account->arena().limit_bytes(),
          " are in use; trim or delete volumes, or raise --memory_limit"));
    case Cause::kCorrupt:
      return absl::DataLossError(absl::StrCat(
          "a frame of ", name, " at offset ", refusal.chunk * kChunkBytes,
          " does not pass its check, its content is lost; write or trim these ",
          kChunkBytes, " bytes, and test the machine's memory"));
    case Cause::kUnread:
      return absl::DataLossError(absl::StrCat(
          "the content of ", name, " at offset ", refusal.chunk * kChunkBytes,
          " cannot be read from its save, which is damaged there, or gone; "
          "write or trim these ",
          kChunkBytes, " bytes, or start the server with that save"));
    case Cause::kDamaged:
      return absl::DataLossError(absl::StrCat(
          name,
          " was found damaged when the server started, and is kept as it "
          "was; restore it under another name, and delete it"));
    case Cause::kNone:
      break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Explain(const Refusal& refusal, const Request& request,
                     absl::string_view volume, uint64_t size_bytes,
                     const Account* account) {
  if (refusal.ok()) return absl::OkStatus();
  return WithReason(
      WithoutReason(refusal, request, volume, size_bytes, account),
      ReasonOf(refusal.cause));
}

}  // namespace ramvol::engine
