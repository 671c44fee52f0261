// libFuzzer over the readers of images: damaged and hostile ones are refused,
// in bounded memory and time, and nothing is read or written out of bounds.
//
//   bazel build --config=fuzz //tests/fuzz:qcow2_fuzzer
//   bazel-bin/tests/fuzz/qcow2_fuzzer tests/fuzz/corpus/qcow2
//
// The first byte of an input chooses: an image as it is, read at any offset or
// in order; or one that ramvol wrote, to which damage is done.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "qcow2/chain_source.h"
#include "qcow2/format.h"
#include "qcow2/image_file.h"
#include "qcow2/stream_reader.h"
#include "qcow2/stream_writer.h"
#include "qcow2/zstd_frames.h"
#include "server/archive/volume_sink.h"
#include "server/engine/engine.h"
#include "tests/fuzz/input.h"

namespace ramvol::testing {
namespace {

// Of one input.
constexpr size_t kMaxClusters = 256;

engine::Engine& SharedEngine() {
  static engine::Engine* const engine = [] {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.background_threads = 1;
    return engine::Engine::Create(options)->release();
  }();
  return *engine;
}

class MemoryReader final : public qcow2::RandomReader {
 public:
  explicit MemoryReader(std::string bytes) : bytes_(std::move(bytes)) {}

  uint64_t size_bytes() const override { return bytes_.size(); }
  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<char> out) override {
    if (offset >= bytes_.size()) return 0;
    const size_t length = std::min(out.size(), bytes_.size() - offset);
    std::memcpy(out.data(), bytes_.data() + offset, length);
    return length;
  }

 private:
  const std::string bytes_;
};

void ReadAnywhere(std::string_view bytes) {
  auto image = qcow2::ImageFile::Open(
      std::make_unique<MemoryReader>(std::string(bytes)));
  if (!image.ok()) return;
  std::vector<std::unique_ptr<qcow2::ImageFile>> images;
  images.push_back(*std::move(image));
  qcow2::ChainSource source(std::move(images));
  const auto groups = source.Survey();
  if (!groups.ok()) return;
  std::vector<qcow2::ClusterPlan> plan;
  std::string out;
  size_t clusters = 0;
  for (const qcow2::GroupRoom& room : *groups) {
    if (!source.PlanGroup(room.group, room.clusters, &plan).ok()) return;
    for (const qcow2::ClusterPlan& cluster : plan) {
      if (++clusters > kMaxClusters) return;
      out.resize(cluster.kind == qcow2::ClusterKind::kRaw ? qcow2::kClusterBytes
                                                          : cluster.bytes);
      if (!source.ReadCluster(cluster, absl::MakeSpan(out)).ok()) {
        return;
      }
    }
  }
}

// Returns whether it was taken; the volume goes again.
bool ReadInOrder(std::string_view bytes, size_t piece) {
  engine::Engine& engine = SharedEngine();
  const uint64_t before = engine.Stats().volumes;
  archive::VolumeSink sink([&](const qcow2::Header& header) {
    engine::VolumeOptions options;
    options.name = "fuzzed";
    options.size_bytes = std::max<uint64_t>(1, header.exact_size_bytes());
    return engine.CreateHidden(options);
  });
  qcow2::StreamReader reader(&sink);
  absl::Status status;
  while (status.ok() && !bytes.empty()) {
    const size_t length = std::min(piece, bytes.size());
    status = reader.Feed(bytes.substr(0, length));
    bytes.remove_prefix(length);
  }
  if (status.ok()) status = reader.Finish();
  if (sink.volume() != nullptr) {
    RAMVOL_CHECK(engine.DeleteVolume(sink.volume(), /*force=*/true).ok());
  }
  RAMVOL_CHECK(engine.Stats().volumes == before);
  return status.ok();
}

// Some clusters of each kind.
class FewClusters final : public qcow2::ClusterSource {
 public:
  absl::StatusOr<std::vector<qcow2::GroupRoom>> Survey() override {
    return std::vector<qcow2::GroupRoom>{{0, 3}, {3, 1}};
  }
  absl::Status PlanGroup(uint32_t group, uint32_t,
                         std::vector<qcow2::ClusterPlan>* plan) override {
    const auto bytes = static_cast<uint32_t>(Frames(3).size());
    *plan = {
        {.index = 1, .kind = qcow2::ClusterKind::kCompressed, .bytes = bytes},
        {.index = 5, .kind = qcow2::ClusterKind::kZeroes}};
    if (group == 0) {
      plan->push_back({.index = 7, .kind = qcow2::ClusterKind::kRaw});
    }
    return absl::OkStatus();
  }
  absl::Status ReadCluster(const qcow2::ClusterPlan& plan,
                           absl::Span<char> out) override {
    if (plan.kind == qcow2::ClusterKind::kRaw) {
      std::fill(out.begin(), out.end(), 'r');
    } else {
      const std::string frames = Frames(3);
      std::memcpy(out.data(), frames.data(), frames.size());
    }
    return absl::OkStatus();
  }

 private:
  static std::string Frames(char byte) {
    std::string bytes(3 * qcow2::kClusterBytes, '\0');
    char* to = qcow2::WriteFillFrame('\0', 16384, bytes.data());
    to = qcow2::WriteFillFrame(byte, 40960, to);
    to = qcow2::WriteRawFrame(std::string(8192, byte), to);
    bytes.resize(to - bytes.data());
    return bytes;
  }
};

const std::string& GoodImage() {
  static const std::string* const image = [] {
    FewClusters source;
    qcow2::Header header;
    header.origin.emplace();
    header.origin->size_bytes = 4 * qcow2::kGroupBytes - 77;
    header.origin->id = 1;
    auto writer = *qcow2::StreamWriter::Make(&source, header, true);
    auto* const bytes = new std::string;
    RAMVOL_CHECK(writer->Append(writer->file_bytes(), bytes).ok());
    return bytes;
  }();
  return *image;
}

void Damage(Input& input) {
  std::string image = GoodImage();
  const size_t piece = 1 + input.Number(3) % image.size();
  const int damages = input.Choice(8);
  for (int i = 0; i < damages; ++i) {
    // Most of it is zeroes: what matters is at the beginnings of clusters.
    const size_t cluster = input.Number(1) % (image.size() >> 16);
    const size_t at = (cluster << 16) + input.Number(2);
    const std::string_view bytes = input.Bytes(1 + input.Choice(16));
    for (size_t k = 0; k < bytes.size() && at + k < image.size(); ++k) {
      image[at + k] = bytes[k];
    }
  }
  if (damages == 0) {
    RAMVOL_CHECK(ReadInOrder(image, piece));
    RAMVOL_CHECK(!ReadInOrder(image.substr(0, image.size() - 1), piece));
  } else {
    (void)ReadInOrder(image, piece);
    ReadAnywhere(image);
  }
}

}  // namespace
}  // namespace ramvol::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramvol::testing::Input input(data, size);
  switch (input.Choice(3)) {
    case 0:
      ramvol::testing::ReadAnywhere(input.Rest());
      break;
    case 1:
      (void)ramvol::testing::ReadInOrder(input.Rest(), 1000);
      break;
    default:
      ramvol::testing::Damage(input);
  }
  return 0;
}
