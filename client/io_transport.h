// The wire below a volume's pipeline, without gRPC in sight.
#ifndef RAMVOL_CLIENT_IO_TRANSPORT_H_
#define RAMVOL_CLIENT_IO_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "client/extent.h"

namespace ramvol {

enum class OperationKind {
  kRead,
  kWrite,
  kTrim,
  kWriteZeroes,
  kFlush,
  kGetExtents,
};

// IoOperation of block_service.proto. `data` is borrowed.
struct Operation {
  uint64_t id = 0;
  OperationKind kind = OperationKind::kFlush;
  int64_t offset = 0;
  int64_t length = 0;     // Of all but kWrite.
  std::string_view data;  // Of kWrite.
  bool no_hole = false;
  int32_t max_extents = 0;
};

// IoResult. `data` are the consecutive pieces of what was read; they are valid
// during the OnMessage that brings them.
struct OperationResult {
  uint64_t id = 0;
  absl::Status status;
  absl::InlinedVector<std::string_view, 2> data;
  std::vector<Extent> extents;
  int64_t next_offset = 0;
};

// IoOpened.
struct VolumeOpened {
  int64_t size_bytes = 0;
  bool read_only = false;
  int32_t window_operations = 0;
  int64_t window_bytes = 0;
  int64_t max_data_bytes = 0;
  std::string uid;
};

// IoResponse.
struct IncomingMessage {
  std::optional<VolumeOpened> opened;
  std::vector<OperationResult> results;
};

// The first IoRequest of a stream, but for operations.
struct StreamOpening {
  std::string volume;
  uint64_t stream_id = 0;
  // Streams that must be at rest before this one is open.
  std::vector<uint64_t> replaces;
  uint64_t client_id = 0;
  bool if_unattached = false;
};

// What a stream reports, never two of one kind at once, OnClosed last. Calls
// come from threads of the transport, and none from within a call of IoStream.
class IoStreamHandler {
 public:
  virtual ~IoStreamHandler() = default;

  virtual void OnMessage(const IncomingMessage& message) = 0;
  // The message of Start or of the last Send is on its way; the next may
  // follow.
  virtual void OnWritten() = 0;
  // The stream has ended, with the server's status or with one of the
  // transport's: UNAVAILABLE if the connection was lost or could not be made.
  virtual void OnClosed(absl::Status status) = 0;
};

// One Io call. After the stream has ended every function does nothing.
// At most one message may be on its way: see OnWritten.
class IoStream {
 public:
  virtual ~IoStream() = default;

  // Connects and sends the first message, which has no operations.
  virtual void Start() = 0;
  // Encodes the next message. What `operations` point at has been copied when
  // it returns. Only before Send, by the thread that will call it.
  virtual void Prepare(absl::Span<const Operation> operations) = 0;
  // Sends what Prepare encoded.
  virtual void Send() = 0;
  // Tells the server that nothing more will come; only when no message is on
  // its way. The server ends the stream when all is answered.
  virtual void HalfClose() = 0;
  // Ends the stream soon.
  virtual void Cancel() = 0;
};

// Makes streams. Thread-safe.
class IoTransport {
 public:
  virtual ~IoTransport() = default;

  // A stream over `channel` (each has a connection of its own) that has not
  // started. It holds `handler` until it has ended.
  virtual std::shared_ptr<IoStream> NewStream(
      int channel, const StreamOpening& opening,
      std::shared_ptr<IoStreamHandler> handler) = 0;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_IO_TRANSPORT_H_
