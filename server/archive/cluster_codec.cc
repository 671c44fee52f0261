#include "server/archive/cluster_codec.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "qcow2/zstd_frames.h"
#include "server/engine/types/blocks.h"

namespace ramvol::archive {
namespace {

using engine::EncodedChunk;
using engine::EncodedRun;
using engine::kBlockBytes;
using engine::kBlocksPerChunk;
using engine::kChunkBytes;
using engine::RunKind;

static_assert(kChunkBytes == qcow2::kClusterBytes);

// The engine's frames begin with a descriptor of 0 and the window's. An image's
// have a magic number before them and the content's size after these.
constexpr size_t kEngineHeadBytes = 2;
constexpr size_t kMostExtraBytes =
    std::max({qcow2::kFrameExtraBytes + qcow2::kChecksumFrameBytes,
              qcow2::kRawFrameExtraBytes, qcow2::kFillFrameBytes});

EncodedRun WholeRun() {
  return {.kind = RunKind::kRaw, .first_block = 0, .blocks = kBlocksPerChunk};
}

// Turns the frame into that of a run, in its place.
EncodedRun RunOf(const qcow2::Frame& frame, int first_block) {
  EncodedRun run{
      .kind = RunKind::kFrame,
      .first_block = first_block,
      .blocks = static_cast<int>(*frame.content_bytes / kBlockBytes)};
  if (frame.fill == '\0') {
    run.kind = RunKind::kZeroes;
  } else if (!frame.raw.empty()) {
    run.kind = RunKind::kRaw;
    run.bytes = {frame.raw.data(), frame.raw.size()};
  } else {
    char* const begin = frame.blocks.data() - kEngineHeadBytes;
    begin[0] = 0;
    begin[1] = frame.window;
    run.bytes = {begin, frame.blocks.size() + kEngineHeadBytes};
    run.checksum = frame.checksum;
  }
  return run;
}

// False, with frames still as they were, when some are no whole blocks.
bool TakeFrames(absl::Span<char> bytes, bool own, EncodedChunk* chunk) {
  std::vector<qcow2::Frame> frames;
  uint64_t content = 0;
  std::optional<uint32_t> checksum;  // Of the next one.
  while (content < kChunkBytes) {
    auto frame = qcow2::TakeFrame(bytes);
    if (!frame.has_value() || !frame->content_bytes.has_value()) return false;
    bytes.remove_prefix(frame->bytes);
    if (frame->skippable) {
      checksum = frame->checksum;
      continue;
    }
    frame->checksum = std::exchange(checksum, std::nullopt);
    const uint64_t size = *frame->content_bytes;
    if (size == 0 || size % kBlockBytes != 0 || size > kChunkBytes - content) {
      return false;
    }
    content += size;
    frames.push_back(*std::move(frame));
  }
  int block = 0;
  for (const qcow2::Frame& frame : frames) {
    EncodedRun& run = chunk->runs.emplace_back(RunOf(frame, block));
    run.as_stored = own && run.checksum.has_value();
    block += run.blocks;
  }
  return true;
}

}  // namespace

uint32_t CompressedBytes(uint64_t run_bytes, int runs) {
  return static_cast<uint32_t>(run_bytes + runs * kMostExtraBytes);
}

uint32_t WriteCluster(const EncodedChunk& chunk, absl::Span<char> out) {
  char* to = out.data();
  for (const EncodedRun& run : chunk.runs) {
    const size_t content = run.blocks * kBlockBytes;
    const std::string_view bytes(run.bytes.data(), run.bytes.size());
    switch (run.kind) {
      case RunKind::kZeroes:
        to = qcow2::WriteFillFrame('\0', content, to);
        break;
      case RunKind::kRaw:
        to = qcow2::WriteRawFrame(bytes, to);
        break;
      case RunKind::kFrame:
        if (run.as_stored) to = qcow2::WriteChecksumFrame(*run.checksum, to);
        to = qcow2::WriteFrame(bytes.substr(1), content, to);
        break;
    }
  }
  return static_cast<uint32_t>(to - out.data());
}

bool ReadCluster(qcow2::ClusterKind kind, absl::Span<const char> cluster,
                 bool own, EncodedChunk* chunk) {
  chunk->runs.clear();
  if (kind == qcow2::ClusterKind::kZeroes) {
    chunk->runs.push_back(WholeRun());
    chunk->runs.back().kind = RunKind::kZeroes;
    return true;
  }
  chunk->buffer = std::make_unique_for_overwrite<char[]>(cluster.size());
  std::memcpy(chunk->buffer.get(), cluster.data(), cluster.size());
  const absl::Span<char> bytes(chunk->buffer.get(), cluster.size());
  if (kind == qcow2::ClusterKind::kCompressed) {
    if (TakeFrames(bytes, own, chunk)) return true;
    auto content = std::make_unique_for_overwrite<char[]>(kChunkBytes);
    if (!qcow2::Decompress({cluster.data(), cluster.size()},
                           {content.get(), kChunkBytes})) {
      return false;
    }
    chunk->buffer = std::move(content);
  } else if (cluster.size() != kChunkBytes) {
    return false;
  }
  chunk->runs.push_back(WholeRun());
  chunk->runs.back().bytes = {chunk->buffer.get(), kChunkBytes};
  return true;
}

}  // namespace ramvol::archive
