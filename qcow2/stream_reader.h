// Reads an image of ramvol from its first byte to its last, without going back.
#ifndef RAMVOL_QCOW2_STREAM_READER_H_
#define RAMVOL_QCOW2_STREAM_READER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "qcow2/format.h"
#include "qcow2/image_digest.h"
#include "qcow2/trailer.h"

namespace ramvol::qcow2 {

// Takes the parts of an image, in the order of the file. An error ends the
// reading.
class StreamSink {
 public:
  virtual ~StreamSink() = default;

  virtual absl::Status OnHeader(const Header& header) = 0;
  // `kind` is kZeroes, with no bytes, kRaw, or kCompressed. What comes after a
  // compressed cluster's end may be in `bytes`, which are the sink's to change.
  virtual absl::Status OnCluster(uint64_t cluster, ClusterKind kind,
                                 absl::Span<char> bytes) = 0;
  // If there is a digest, it is right.
  virtual absl::Status OnTrailer(const Trailer& trailer) = 0;
};

// Images that StreamWriter wrote, and nothing was done to since; several may
// follow each other. Whatever comes, memory is bounded by 16 bytes for each
// group that the L1 table names, 16 MiB at most, and time by what comes.
//
// Not thread-safe. Borrows the sink.
class StreamReader {
 public:
  explicit StreamReader(StreamSink* sink) : sink_(*sink) {}

  // Takes in the next bytes. FAILED_PRECONDITION, reason FOREIGN_IMAGE, when it
  // is another qcow2 image; TooManyGroups; INVALID_ARGUMENT, reason
  // DAMAGED_IMAGE; the sink's errors. Do not go on after one.
  absl::Status Feed(std::string_view bytes);
  // All bytes came. INVALID_ARGUMENT, reason DAMAGED_IMAGE, in the middle of an
  // image or before the first.
  absl::Status Finish() const;

 private:
  enum class Want { kHead, kL1, kTable, kCluster, kTrailer };
  struct Table {
    uint64_t group = 0;
    uint64_t offset = 0;
  };
  struct Cluster {
    uint64_t number = 0;
    ClusterEntry entry;
  };

  // The next part has `bytes` bytes at `offset` of the image.
  absl::Status Expect(Want want, uint64_t offset, uint64_t bytes);
  absl::Status Take(absl::Span<char> part);
  absl::Status TakeHead(std::string_view head);
  absl::Status TakeL1(std::string_view entries);
  absl::Status TakeTable(std::string_view table);
  absl::Status TakeCluster(absl::Span<char> bytes);
  absl::Status ExpectL1();
  // The next cluster, table or the trailer.
  absl::Status ExpectNext();
  void Reset();

  StreamSink& sink_;
  Header header_;
  Want want_ = Want::kHead;
  uint64_t wanted_ = kHeadBytes;
  uint64_t position_ = 0;  // In the image, of the next byte.
  uint64_t skip_ = 0;
  std::string part_;  // What came of the part.
  uint64_t l1_done_ = 0;
  std::vector<Table> tables_;
  size_t table_ = 0;               // Of tables_: the next one.
  std::vector<Cluster> clusters_;  // By their offsets.
  size_t cluster_ = 0;
  bool any_ = false;
  ImageDigest digest_;  // Of what came of the image.
};

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_STREAM_READER_H_
