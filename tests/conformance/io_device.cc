#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "proto/status.h"
#include "tests/conformance/device.h"
#include "tests/conformance/grpc_device.h"
#include "tests/support/test_server.h"

namespace ramvol::testing {
namespace {

// The plainest client of Io there can be: one operation at a time.
class IoDevice : public Device {
 public:
  IoDevice(v1::BlockService::Stub& stub, const std::string& name)
      : stream_(stub.Io(&context_)) {
    v1::IoRequest request;
    request.set_volume(name);
    stream_->Write(request);
    v1::IoResponse response;
    stream_->Read(&response);
    read_only_ = response.opened().read_only();
  }
  ~IoDevice() override {
    stream_->WritesDone();
    stream_->Finish();
  }

  bool read_only() override { return read_only_; }
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) override {
    v1::IoOperation operation;
    SetRange(operation.mutable_read(), offset, length);
    auto result = Run(std::move(operation));
    if (!result.ok()) return result.status();
    return std::move(*result->mutable_data());
  }
  absl::Status Write(int64_t offset, const std::string& data) override {
    v1::IoOperation operation;
    operation.mutable_write()->set_offset(offset);
    operation.mutable_write()->set_data(data);
    return Run(std::move(operation)).status();
  }
  absl::Status Trim(int64_t offset, int64_t length) override {
    v1::IoOperation operation;
    SetRange(operation.mutable_trim(), offset, length);
    return Run(std::move(operation)).status();
  }
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool no_hole) override {
    v1::IoOperation operation;
    SetRange(operation.mutable_write_zeroes(), offset, length);
    operation.mutable_write_zeroes()->set_no_hole(no_hole);
    return Run(std::move(operation)).status();
  }
  absl::Status Flush() override {
    v1::IoOperation operation;
    operation.mutable_flush();
    return Run(std::move(operation)).status();
  }
  absl::StatusOr<std::vector<DeviceExtent>> Extents(int64_t offset,
                                                    int64_t length) override {
    v1::IoOperation operation;
    SetRange(operation.mutable_get_extents(), offset, length);
    auto result = Run(std::move(operation));
    if (!result.ok()) return result.status();
    std::vector<DeviceExtent> extents;
    for (const v1::Extent& extent : result->extents()) {
      extents.push_back({extent.offset(), extent.length(), extent.hole()});
    }
    return extents;
  }

 private:
  template <typename Kind>
  static void SetRange(Kind* kind, int64_t offset, int64_t length) {
    kind->set_offset(offset);
    kind->set_length(length);
  }

  absl::StatusOr<v1::IoResult> Run(v1::IoOperation operation) {
    MutexLock lock(&mu_);
    operation.set_id(++last_id_);
    v1::IoRequest request;
    *request.add_operations() = std::move(operation);
    v1::IoResponse response;
    if (!stream_->Write(request) || !stream_->Read(&response)) {
      return absl::UnavailableError("the stream has ended");
    }
    if (response.results_size() != 1 || response.results(0).id() != last_id_) {
      return absl::InternalError(
          absl::StrCat("a wrong answer: ", response.ShortDebugString()));
    }
    if (response.results(0).has_error()) {
      return FromRpcStatus(response.results(0).error());
    }
    return std::move(*response.mutable_results(0));
  }

  Mutex mu_;
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::IoRequest, v1::IoResponse>>
      stream_;
  bool read_only_ = false;
};

}  // namespace

std::unique_ptr<DeviceFactory> MakeIoFactory() {
  return std::make_unique<GrpcFactory>(
      [](TestServer& server, const std::string& name) {
        return std::make_unique<IoDevice>(server.blocks(), name);
      });
}

}  // namespace ramvol::testing
