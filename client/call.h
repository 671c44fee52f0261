// The words of the SDK's data path. A user makes a *request*. The pipeline
// keeps it as a *call*, and cuts that into *parts*. Each part is one
// *operation* on the wire.
#ifndef RAMVOL_CLIENT_CALL_H_
#define RAMVOL_CLIENT_CALL_H_

#include <cstdint>
#include <map>
#include <memory>
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

// What a user asks of a volume. Offsets and lengths are bytes.
struct Request {
  OperationKind kind = OperationKind::kFlush;
  int64_t offset = 0;
  int64_t length = 0;
  // The user's buffer of `length` bytes: `data` of a write, `out` of a read. It
  // stays until the callback.
  const char* data = nullptr;
  char* out = nullptr;
  bool no_hole = false;     // Of kWriteZeroes.
  int32_t max_extents = 0;  // Of kGetExtents; 0: all, in as many parts.
  // Exactly one is set: `extents_done` for kGetExtents, `done` for the rest.
  VolumeConnection::Done done;
  VolumeConnection::ExtentsDone extents_done;
};

// A request under way. Several parts of it may be out at once. All but
// `request` and `deadline` belongs to CallTable.
struct Call {
  explicit Call(Request&& request) : request(std::move(request)) {}

  Request request;
  absl::Time deadline;

  int64_t cut_bytes = 0;  // How much of the range parts have been made of.
  bool cut_all = false;
  int parts = 0;             // Made and not finished.
  int pins = 0;              // Threads that are copying from or to the buffer.
  bool ended = false;        // The result stands; parts still out are ignored.
  int64_t charge_bytes = 0;  // Counted in CallTable::admitted_bytes.
  absl::Status status;       // The first error.
  std::vector<Extent> extents;
  std::multimap<absl::Time, std::shared_ptr<Call>>::iterator position;
};

// A piece of a call that is one operation on the wire.
struct Part {
  std::shared_ptr<Call> call;
  int64_t offset = 0;
  int64_t length = 0;

  // What counts against the server's window of bytes.
  int64_t window_bytes() const;
};

// Reads and writes; what they move counts against windows.
inline bool MovesData(OperationKind kind) {
  return kind == OperationKind::kRead || kind == OperationKind::kWrite;
}

inline int64_t Part::window_bytes() const {
  return MovesData(call->request.kind) ? length : 0;
}

// Whether an operation changes the volume: it must not be sent twice at once.
bool IsChange(OperationKind kind);

// For messages: "write", "list of extents".
const char* KindName(OperationKind kind);

// OUT_OF_RANGE, reason PAST_END, for a read or write whose parts would have no
// offsets. The server judges all other ranges.
absl::Status CheckRange(const Request& request);

// The operation of a part. It borrows the user's data.
Operation ToOperation(uint64_t id, const Part& part);

// Copies what the server answered to a read into the user's buffer. INTERNAL if
// it is not as long as the part.
absl::Status CopyToUser(const Part& part, const OperationResult& result);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CALL_H_
