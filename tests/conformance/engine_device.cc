#include <utility>

#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/conformance/device.h"

namespace ramvol::testing {
namespace {

class EngineDevice : public Device {
 public:
  explicit EngineDevice(engine::Attachment attachment)
      : attachment_(std::move(attachment)) {}

  bool read_only() override { return volume().read_only(); }
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) override {
    std::string data(length, 'x');
    const absl::Status status = volume().Read(offset, absl::MakeSpan(data));
    if (!status.ok()) return status;
    return data;
  }
  absl::Status Write(int64_t offset, const std::string& data) override {
    return volume().Write(offset, absl::MakeConstSpan(data));
  }
  absl::Status Trim(int64_t offset, int64_t length) override {
    return volume().Trim(offset, length);
  }
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool no_hole) override {
    return volume().WriteZeroes(offset, length, no_hole);
  }
  absl::Status Flush() override { return volume().Flush(); }
  absl::StatusOr<std::vector<DeviceExtent>> Extents(int64_t offset,
                                                    int64_t length) override {
    auto found = volume().GetExtents(offset, length, 1000000);
    if (!found.ok()) return found.status();
    std::vector<DeviceExtent> extents;
    for (const engine::Extent& extent : found->extents) {
      extents.push_back({static_cast<int64_t>(extent.offset_bytes),
                         static_cast<int64_t>(extent.length_bytes),
                         extent.hole});
    }
    return extents;
  }

 private:
  engine::Volume& volume() { return attachment_.volume(); }

  engine::Attachment attachment_;
};

class EngineFactory : public DeviceFactory {
 public:
  std::unique_ptr<Device> Open(const std::string& name,
                               int64_t size_bytes) override {
    engine::VolumeOptions options;
    options.name = name;
    options.size_bytes = size_bytes;
    engine_->CreateVolume(options).status().IgnoreError();
    return std::make_unique<EngineDevice>(
        *engine::Attachment::Make(*engine_->Find(name), {"test", "here"}));
  }
  absl::Status SetReadOnly(const std::string& name) override {
    engine::VolumeUpdate update;
    update.read_only = true;
    return (*engine_->Find(name))->Update(update);
  }
  absl::Status Delete(const std::string& name) override {
    return engine_->DeleteVolume(*engine_->Find(name), /*force=*/true);
  }
  absl::Status Snapshot(const std::string& volume,
                        const std::string& name) override {
    const auto found = engine_->Find(volume);
    if (!found.ok()) return found.status();
    return engine_->CreateSnapshots({{*found, name}}).status();
  }
  absl::Status Clone(const std::string& source,
                     const std::string& name) override {
    engine::VolumeOptions options;
    options.name = name;
    return engine_->CloneVolume(options, *engine_->Find(source)).status();
  }

 private:
  engine::Engine& engine() override { return *engine_; }

  static std::unique_ptr<engine::Engine> Make() {
    engine::EngineOptions options;
    options.memory_limit_bytes = kMemoryLimitBytes;
    return *engine::Engine::Create(options);
  }

  std::unique_ptr<engine::Engine> engine_ = Make();
};

}  // namespace

std::unique_ptr<DeviceFactory> MakeEngineFactory() {
  return std::make_unique<EngineFactory>();
}

}  // namespace ramvol::testing
