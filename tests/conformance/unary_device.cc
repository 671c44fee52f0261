#include <utility>

#include "tests/conformance/device.h"
#include "tests/conformance/grpc_device.h"
#include "tests/support/test_server.h"

namespace ramvol::testing {
namespace {

using Stub = v1::BlockService::Stub;

class UnaryDevice : public Device {
 public:
  UnaryDevice(TestServer& server, std::string name)
      : server_(server), stub_(server.blocks()), name_(std::move(name)) {}

  bool read_only() override {
    v1::GetVolumeRequest request;
    request.set_name(name_);
    return TestServer::Call(&v1::VolumeService::Stub::GetVolume,
                            server_.volumes(), request)
        ->volume()
        .read_only();
  }
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) override {
    auto response = TestServer::Call(&Stub::Read, stub_,
                                     Ranged<v1::ReadRequest>(offset, length));
    if (!response.ok()) return response.status();
    return std::move(*response->mutable_data());
  }
  absl::Status Write(int64_t offset, const std::string& data) override {
    v1::WriteRequest request;
    request.set_volume(name_);
    request.set_offset(offset);
    request.set_data(data);
    return TestServer::Call(&Stub::Write, stub_, request).status();
  }
  absl::Status Trim(int64_t offset, int64_t length) override {
    return TestServer::Call(&Stub::Trim, stub_,
                            Ranged<v1::TrimRequest>(offset, length))
        .status();
  }
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool no_hole) override {
    auto request = Ranged<v1::WriteZeroesRequest>(offset, length);
    request.set_no_hole(no_hole);
    return TestServer::Call(&Stub::WriteZeroes, stub_, request).status();
  }
  absl::Status Flush() override {
    v1::FlushRequest request;
    request.set_volume(name_);
    return TestServer::Call(&Stub::Flush, stub_, request).status();
  }
  absl::StatusOr<std::vector<DeviceExtent>> Extents(int64_t offset,
                                                    int64_t length) override {
    auto response =
        TestServer::Call(&Stub::GetExtents, stub_,
                         Ranged<v1::GetExtentsRequest>(offset, length));
    if (!response.ok()) return response.status();
    std::vector<DeviceExtent> extents;
    for (const v1::Extent& extent : response->extents()) {
      extents.push_back({extent.offset(), extent.length(), extent.hole()});
    }
    return extents;
  }

 private:
  template <typename Request>
  Request Ranged(int64_t offset, int64_t length) {
    Request request;
    request.set_volume(name_);
    request.set_offset(offset);
    request.set_length(length);
    return request;
  }

  TestServer& server_;
  Stub& stub_;
  const std::string name_;
};

}  // namespace

std::unique_ptr<DeviceFactory> MakeUnaryFactory() {
  return std::make_unique<GrpcFactory>(
      [](TestServer& server, const std::string& name) {
        return std::make_unique<UnaryDevice>(server, name);
      });
}

}  // namespace ramvol::testing
