#include "client/call.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "client/io_transport.h"

namespace ramvol {

bool IsChange(OperationKind kind) {
  switch (kind) {
    case OperationKind::kWrite:
    case OperationKind::kTrim:
    case OperationKind::kWriteZeroes:
      return true;
    case OperationKind::kRead:
    case OperationKind::kFlush:
    case OperationKind::kGetExtents:
    case OperationKind::kGetChangedExtents:
      return false;
  }
  return true;
}

const char* KindName(OperationKind kind) {
  switch (kind) {
    case OperationKind::kRead:
      return "read";
    case OperationKind::kWrite:
      return "write";
    case OperationKind::kTrim:
      return "trim";
    case OperationKind::kWriteZeroes:
      return "write of zeroes";
    case OperationKind::kFlush:
      return "flush";
    case OperationKind::kGetExtents:
      return "list of extents";
    case OperationKind::kGetChangedExtents:
      return "list of changes";
  }
  return "operation";
}

absl::Status CheckRange(const Request& request) {
  if (!MovesData(request.kind) ||
      request.offset <= std::numeric_limits<int64_t>::max() - request.length) {
    return absl::OkStatus();
  }
  return WithReason(
      absl::OutOfRangeError(absl::StrCat(
          KindName(request.kind), " of ", request.length, " bytes at offset ",
          request.offset, " ends past the largest volume; shorten it")),
      reason::kPastEnd);
}

Operation ToOperation(uint64_t id, const Part& part) {
  const Request& request = part.call->request;
  Operation operation;
  operation.id = id;
  operation.kind = request.kind;
  operation.offset = part.offset;
  operation.length = part.length;
  operation.no_hole = request.no_hole;
  if (request.kind == OperationKind::kWrite) {
    operation.data = std::string_view(
        request.data + (part.offset - request.offset), part.length);
  }
  if (ListsExtents(request.kind)) {
    operation.since = request.since;
    operation.max_extents = request.max_extents == 0
                                ? kMaxExtents
                                : std::min(request.max_extents, kMaxExtents);
  }
  return operation;
}

absl::Status CopyToUser(const Part& part, const OperationResult& result) {
  int64_t size_bytes = 0;
  for (std::string_view piece : result.data) size_bytes += piece.size();
  if (size_bytes != part.length) {
    return absl::InternalError(absl::StrCat(
        "the server answered a read of ", part.length, " bytes at offset ",
        part.offset, " with ", size_bytes, " bytes"));
  }
  const Request& request = part.call->request;
  char* out = request.out + (part.offset - request.offset);
  for (std::string_view piece : result.data) {
    if (!piece.empty()) std::memcpy(out, piece.data(), piece.size());
    out += piece.size();
  }
  return absl::OkStatus();
}

}  // namespace ramvol
