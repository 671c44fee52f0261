#include "client/cli/transfer/content.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/extent_walk.h"
#include "client/cli/transfer/read_pipeline.h"
#include "client/cli/transfer/transfer.h"
#include "client/cli/transfer/zeroes.h"
#include "client/remote_volume.h"
#include "proto/status.h"

// Inlined as in the server: the fastest code, and no library to link.
#define XXH_INLINE_ALL
#include "xxhash.h"

namespace ramvol::cli {
namespace {

class VolumeContent : public Content {
 public:
  VolumeContent(std::string name, const RemoteVolume& volume,
                int64_t size_bytes)
      : name_(std::move(name)),
        size_bytes_(size_bytes),
        extents_(volume, 0, size_bytes),
        pipeline_(volume) {}

  const std::string& name() const override { return name_; }
  int64_t size_bytes() const override { return size_bytes_; }

  absl::StatusOr<Piece> Next() override {
    while (!pipeline_.full()) {
      absl::Status found = FindData();
      if (!found.ok()) return found;
      if (extent_.length == 0) break;
      const int64_t bytes = PieceBytes(extent_.offset, extent_.length);
      pipeline_.Push(extent_.offset, bytes);
      extent_.offset += bytes;
      extent_.length -= bytes;
    }
    if (pipeline_.empty()) return Piece{.offset = size_bytes_, .data = {}};
    absl::StatusOr<ReadPipeline::Piece> piece = pipeline_.Pop();
    if (!piece.ok()) return piece.status();
    return Piece{.offset = piece->offset, .data = piece->data};
  }

 private:
  // Advances `extent_` to one that holds data. Empty at the end.
  absl::Status FindData() {
    while (extent_.length == 0) {
      absl::StatusOr<Extent> extent = extents_.Next();
      if (!extent.ok()) return extent.status();
      if (extent->length == 0) break;
      if (!extent->hole) extent_ = *extent;
    }
    return absl::OkStatus();
  }

  const std::string name_;
  const int64_t size_bytes_;
  ExtentCursor extents_;
  Extent extent_;  // The part of it that was not asked for yet.
  ReadPipeline pipeline_;
};

class FileContent : public Content {
 public:
  explicit FileContent(LocalFile file)
      : file_(std::move(file)), buffer_(new char[kOperationBytes]) {}

  const std::string& name() const override { return file_.name(); }
  int64_t size_bytes() const override { return file_.size_bytes(); }

  absl::StatusOr<Piece> Next() override {
    if (run_.length == 0) {
      absl::StatusOr<LocalFile::Run> run = file_.NextData(run_.offset);
      if (!run.ok()) return run.status();
      run_ = *run;
    }
    const int64_t bytes = PieceBytes(run_.offset, run_.length);
    absl::StatusOr<size_t> got = file_.ReadAt(
        run_.offset, absl::MakeSpan(buffer_.get(), static_cast<size_t>(bytes)));
    if (!got.ok()) return got.status();
    const Piece piece = {.offset = run_.offset,
                         .data = std::string_view(buffer_.get(), *got)};
    run_.offset += bytes;
    run_.length -= bytes;
    return piece;
  }

 private:
  const LocalFile file_;
  const std::unique_ptr<char[]> buffer_;
  LocalFile::Run run_;  // The part of it that was not read yet.
};

absl::Status DiffersAt(const Content& a, const Content& b, int64_t offset) {
  return WithMetadata(WithReason(absl::FailedPreconditionError(absl::StrCat(
                                     a.name(), " and ", b.name(),
                                     " differ from byte ", offset, " on")),
                                 "CONTENT_DIFFERS"),
                      "offset", absl::StrCat(offset));
}

// The length of the common prefix of `a` and `b`, which have the same length.
size_t CommonBytes(std::string_view a, std::string_view b) {
  return std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin();
}

size_t LeadingZeroes(std::string_view data) {
  return std::min(data.find_first_not_of('\0'), data.size());
}

// The part of a content's current piece that is not compared yet.
class Reader {
 public:
  explicit Reader(Content& content) : content_(content) {}

  absl::Status Fill() {
    if (!piece_.data.empty() || ended_) return absl::OkStatus();
    absl::StatusOr<Content::Piece> piece = content_.Next();
    if (!piece.ok()) return piece.status();
    piece_ = *piece;
    ended_ = piece_.data.empty();
    if (ended_) piece_.offset = content_.size_bytes();
    return absl::OkStatus();
  }
  bool ended() const { return ended_; }
  int64_t offset() const { return piece_.offset; }
  std::string_view data() const { return piece_.data; }
  // The number of data bytes before `offset`.
  std::string_view Before(int64_t offset) const {
    return piece_.data.substr(
        0,
        static_cast<size_t>(std::min<int64_t>(
            offset - piece_.offset, static_cast<int64_t>(piece_.data.size()))));
  }
  void Skip(size_t bytes) {
    piece_.offset += static_cast<int64_t>(bytes);
    piece_.data.remove_prefix(bytes);
  }

 private:
  Content& content_;
  Content::Piece piece_;
  bool ended_ = false;
};

// Skips bytes before `offset`, where the other content has no data. They must
// be zero. False at a byte that is not.
bool SkipZeroes(Reader& reader, int64_t offset) {
  const std::string_view alone = reader.Before(offset);
  const size_t zeroes = LeadingZeroes(alone);
  reader.Skip(zeroes);
  return zeroes == alone.size();
}

// Skips the bytes that both pieces have. False where they differ.
bool SkipCommon(Reader& a, Reader& b) {
  const size_t bytes = std::min(a.data().size(), b.data().size());
  const std::string_view of_a = a.data().substr(0, bytes);
  const std::string_view of_b = b.data().substr(0, bytes);
  const size_t common = of_a == of_b ? bytes : CommonBytes(of_a, of_b);
  a.Skip(common);
  b.Skip(common);
  return common == bytes;
}

// The checksum is made of the blocks that are not zero, each after its number.
class BlockSum {
 public:
  BlockSum() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }

  void Add(int64_t offset, std::string_view data) {
    while (!data.empty()) {
      const int64_t block = offset / kBlockBytes;
      const auto begin = static_cast<size_t>(offset % kBlockBytes);
      const size_t bytes = std::min(data.size(), kBlockBytes - begin);
      if (block != block_) Flush();
      block_ = block;
      if (bytes == static_cast<size_t>(kBlockBytes)) {
        AddBlock(block, data.substr(0, bytes));
      } else {
        memcpy(part_.data() + begin, data.data(), bytes);
        partial_ = true;
      }
      data.remove_prefix(bytes);
      offset += static_cast<int64_t>(bytes);
    }
  }

  std::string Finish(int64_t size_bytes) {
    Flush();
    AddNumber(size_bytes);
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return absl::StrCat(absl::Hex(hash.high64, absl::kZeroPad16),
                        absl::Hex(hash.low64, absl::kZeroPad16));
  }

 private:
  struct FreeState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };

  void Flush() {
    if (!std::exchange(partial_, false)) return;
    AddBlock(block_, std::string_view(part_.data(), part_.size()));
    part_.fill('\0');
  }

  void AddBlock(int64_t block, std::string_view data) {
    if (IsAllZero(data)) return;
    AddNumber(block);
    XXH3_128bits_update(state_.get(), data.data(), data.size());
  }

  void AddNumber(int64_t number) {
    std::array<unsigned char, 8> bytes;
    for (unsigned char& byte : bytes) {
      byte = static_cast<unsigned char>(number & 0xFF);
      number >>= 8;
    }
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }

  const std::unique_ptr<XXH3_state_t, FreeState> state_;
  // A block that came in parts. Its other bytes are zero.
  int64_t block_ = -1;
  bool partial_ = false;
  std::array<char, kBlockBytes> part_ = {};
};

}  // namespace

std::unique_ptr<Content> ContentOfVolume(std::string name,
                                         const RemoteVolume& volume,
                                         int64_t size_bytes) {
  return std::make_unique<VolumeContent>(std::move(name), volume, size_bytes);
}

std::unique_ptr<Content> ContentOfFile(LocalFile file) {
  return std::make_unique<FileContent>(std::move(file));
}

absl::Status Compare(Content& a, Content& b,
                     const std::atomic<bool>& interrupted) {
  if (a.size_bytes() != b.size_bytes()) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          a.name(), " has ", a.size_bytes(), " bytes, ",
                          b.name(), " ", b.size_bytes())),
                      "CONTENT_DIFFERS");
  }
  Reader of_a(a);
  Reader of_b(b);
  for (;;) {
    if (interrupted.load()) return InterruptedError();
    absl::Status filled = of_a.Fill();
    if (filled.ok()) filled = of_b.Fill();
    if (!filled.ok()) return filled;
    if (of_a.ended() && of_b.ended()) return absl::OkStatus();
    Reader& first = of_a.offset() <= of_b.offset() ? of_a : of_b;
    const bool same =
        of_a.offset() == of_b.offset()
            ? SkipCommon(of_a, of_b)
            : SkipZeroes(first, std::max(of_a.offset(), of_b.offset()));
    if (!same) return DiffersAt(a, b, first.offset());
  }
}

absl::StatusOr<std::string> Checksum(Content& content,
                                     const std::atomic<bool>& interrupted) {
  BlockSum sum;
  for (;;) {
    if (interrupted.load()) return InterruptedError();
    absl::StatusOr<Content::Piece> piece = content.Next();
    if (!piece.ok()) return piece.status();
    if (piece->data.empty()) return sum.Finish(content.size_bytes());
    sum.Add(piece->offset, piece->data);
  }
}

}  // namespace ramvol::cli
