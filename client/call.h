// The words of the SDK's data path. A user makes a *request*. The pipeline
// keeps it as a *call*, and cuts that into *parts*. Each part is one
// *operation* on the wire.
#ifndef RAMVOL_CLIENT_CALL_H_
#define RAMVOL_CLIENT_CALL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/extent.h"
#include "client/io_transport.h"
#include "client/volume_connection.h"

namespace ramvol {

// Most extents asked for at once; the server allows no more.
inline constexpr int32_t kMaxExtents = 10000;

// What a user asks of a volume. Offsets and lengths count bytes.
struct Request {
  OperationKind kind = OperationKind::kFlush;
  int64_t offset = 0;
  int64_t length = 0;
  // The user's buffer of `length` bytes: `data` for a write, `out` for a read.
  // The buffer stays until the callback.
  const char* data = nullptr;
  char* out = nullptr;
  bool no_hole = false;  // For kWriteZeroes.
  // For those that list extents. 0: all extents, in as many parts as that
  // takes.
  int32_t max_extents = 0;
  std::string since;  // For kGetChangedExtents.
  // The callback: `extents_done` for those that list extents, `done` for all
  // others.
  VolumeConnection::Done done;
  VolumeConnection::ExtentsDone extents_done;
};

// A request under way. Several of its parts may be out at once: with a stream,
// and not answered. All fields but `request` and `deadline` belong to
// CallTable.
struct Call {
  explicit Call(Request&& request) : request(std::move(request)) {}

  Request request;
  absl::Time deadline;

  int64_t cut_bytes = 0;  // Bytes of the range that are cut into parts.
  bool cut_all = false;   // The whole range is.
  int parts = 0;          // Parts that are cut and not finished.
  int pins = 0;           // Threads that copy from or to the buffer.
  bool ended = false;     // The result is final. Parts still out are ignored.
  int64_t charge_bytes = 0;  // This call's share of CallTable::admitted_bytes.
  absl::Status status;       // The first error.
  std::vector<Extent> extents;
  std::multimap<absl::Time, std::shared_ptr<Call>>::iterator position;
};

// A piece of a call: one operation on the wire.
struct Part {
  std::shared_ptr<Call> call;
  int64_t offset = 0;
  int64_t length = 0;

  // The bytes that count against the server's window.
  int64_t window_bytes() const;
};

// Whether an operation moves data, which counts against windows.
inline bool MovesData(OperationKind kind) {
  return kind == OperationKind::kRead || kind == OperationKind::kWrite;
}

inline int64_t Part::window_bytes() const {
  return MovesData(call->request.kind) ? length : 0;
}

// Whether an operation changes the volume. Such an operation must not run twice
// at a time.
bool IsChange(OperationKind kind);

// For messages: "write", "list of extents".
const char* KindName(OperationKind kind);

// OUT_OF_RANGE, reason PAST_END, for a read or write that reaches past the
// largest offset. The server judges all other ranges.
absl::Status CheckRange(const Request& request);

// The operation for a part. Borrows the user's data.
Operation ToOperation(uint64_t id, const Part& part);

// Copies the data that answers a read into the user's buffer. INTERNAL if its
// length is not the part's.
absl::Status CopyToUser(const Part& part, const OperationResult& result);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CALL_H_
