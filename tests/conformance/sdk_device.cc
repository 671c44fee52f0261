#include <utility>

#include "client/client.h"
#include "client/remote_volume.h"
#include "tests/conformance/device.h"
#include "tests/conformance/grpc_device.h"
#include "tests/support/test_server.h"

namespace ramvol::testing {
namespace {

class SdkDevice : public Device {
 public:
  explicit SdkDevice(RemoteVolume volume) : volume_(std::move(volume)) {}

  bool read_only() override { return volume_.read_only(); }
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) override {
    return volume_.Read(offset, length);
  }
  absl::Status Write(int64_t offset, const std::string& data) override {
    return volume_.Write(offset, data);
  }
  absl::Status Trim(int64_t offset, int64_t length) override {
    return volume_.Trim(offset, length);
  }
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool no_hole) override {
    return volume_.WriteZeroes(offset, length, no_hole);
  }
  absl::Status Flush() override { return volume_.Flush(); }
  absl::StatusOr<std::vector<DeviceExtent>> Extents(int64_t offset,
                                                    int64_t length) override {
    auto found = volume_.Extents(offset, length);
    if (!found.ok()) return found.status();
    std::vector<DeviceExtent> extents;
    for (const Extent& extent : *found) {
      extents.push_back({extent.offset, extent.length, extent.hole});
    }
    return extents;
  }

 private:
  const RemoteVolume volume_;
};

}  // namespace

std::unique_ptr<DeviceFactory> MakeSdkFactory() {
  return std::make_unique<GrpcFactory>(
      [](TestServer& server, const std::string& name) {
        ClientOptions options;
        options.server = server.server().grpc_addresses().front();
        return std::make_unique<SdkDevice>(*Client(options).Open(name));
      });
}

}  // namespace ramvol::testing
