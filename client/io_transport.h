// What a volume's pipeline needs of the wire. Knows nothing of gRPC.
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
  kGetChangedExtents,
};

inline bool ListsExtents(OperationKind kind) {
  return kind == OperationKind::kGetExtents ||
         kind == OperationKind::kGetChangedExtents;
}

// An IoOperation of block_service.proto. Borrows `data` and `since`.
struct Operation {
  uint64_t id = 0;
  OperationKind kind = OperationKind::kFlush;
  int64_t offset = 0;
  int64_t length = 0;     // For all kinds but kWrite.
  std::string_view data;  // For kWrite.
  bool no_hole = false;
  int32_t max_extents = 0;
  std::string_view since;  // Of kGetChangedExtents.
};

// An IoResult. `data` has the bytes that were read, in consecutive pieces. They
// are valid during the call of OnMessage that brings them.
struct OperationResult {
  uint64_t id = 0;
  absl::Status status;
  absl::InlinedVector<std::string_view, 2> data;
  // Of kGetChangedExtents, too: `hole` is its `changed` then.
  std::vector<Extent> extents;
  int64_t next_offset = 0;
};

// An IoOpened.
struct VolumeOpened {
  int64_t size_bytes = 0;
  bool read_only = false;
  int32_t window_operations = 0;
  int64_t window_bytes = 0;
  int64_t max_data_bytes = 0;
  std::string uid;
};

// An IoResponse.
struct IncomingMessage {
  std::optional<VolumeOpened> opened;
  std::vector<OperationResult> results;
};

// The first IoRequest of a stream, without operations.
struct StreamOpening {
  std::string volume;
  uint64_t stream_id = 0;
  // Lost streams. The server opens this one when it runs nothing of them any
  // more.
  std::vector<uint64_t> replaces;
  uint64_t client_id = 0;
  bool if_unattached = false;
  std::string uid = {};  // Of the volume, once it is known.
};

// Gets the reports of a stream. OnClosed is the last one. Two calls of the same
// function never overlap. Calls come from threads of the transport, never from
// within a function of IoStream.
class IoStreamHandler {
 public:
  virtual ~IoStreamHandler() = default;

  virtual void OnMessage(const IncomingMessage& message) = 0;
  // The message of Start or of the last Send is written. The next one may
  // follow.
  virtual void OnWritten() = 0;
  // The stream has ended. `status` is the server's, or UNAVAILABLE if the
  // connection was lost or could not be made.
  virtual void OnClosed(absl::Status status) = 0;
};

// One Io call. At most one message may be on its way: see OnWritten. After the
// stream has ended, every function does nothing.
class IoStream {
 public:
  virtual ~IoStream() = default;

  // Connects and sends the first message, which has no operations.
  virtual void Start() = 0;
  // Encodes the next message, and copies the data that `operations` borrow. The
  // same thread calls Send next.
  virtual void Prepare(absl::Span<const Operation> operations) = 0;
  // Sends the message that Prepare encoded.
  virtual void Send() = 0;
  // Tells the server that no more messages will come. The server ends the
  // stream when it has answered all. Only while no message is on its way.
  virtual void HalfClose() = 0;
  // Ends the stream soon.
  virtual void Cancel() = 0;
};

// Makes streams. Thread-safe.
class IoTransport {
 public:
  virtual ~IoTransport() = default;

  // Makes a stream over `channel`, without starting it. Each channel has a
  // connection of its own. The stream holds `handler` until it has ended.
  virtual std::shared_ptr<IoStream> NewStream(
      int channel, const StreamOpening& opening,
      std::shared_ptr<IoStreamHandler> handler) = 0;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_IO_TRANSPORT_H_
