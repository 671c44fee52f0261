// What the ways over gRPC share: a server in this process, and control of it.
#ifndef RAMVOL_TESTS_CONFORMANCE_GRPC_DEVICE_H_
#define RAMVOL_TESTS_CONFORMANCE_GRPC_DEVICE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "tests/conformance/device.h"
#include "tests/support/test_server.h"

namespace ramvol::testing {

inline server::ServerOptions ConformanceServerOptions() {
  server::ServerOptions options = TestServerOptions();
  options.engine.memory_limit_bytes = kMemoryLimitBytes;
  return options;
}

class GrpcFactory : public DeviceFactory {
 public:
  using Opener =
      std::function<std::unique_ptr<Device>(TestServer&, const std::string&)>;

  // `open` opens a volume that exists.
  explicit GrpcFactory(Opener open, const server::ServerOptions& options =
                                        ConformanceServerOptions())
      : server_(options), open_(std::move(open)) {}

  std::unique_ptr<Device> Open(const std::string& name,
                               int64_t size_bytes) override {
    v1::GetVolumeRequest get;
    get.set_name(name);
    if (!TestServer::Call(&v1::VolumeService::Stub::GetVolume,
                          server_.volumes(), get)
             .ok()) {
      server_.CreateVolume(name, size_bytes);
    }
    return open_(server_, name);
  }
  absl::Status SetReadOnly(const std::string& name) override {
    v1::UpdateVolumeRequest request;
    request.set_name(name);
    request.mutable_volume()->set_read_only(true);
    request.mutable_update_mask()->add_paths("read_only");
    return TestServer::Call(&v1::VolumeService::Stub::UpdateVolume,
                            server_.volumes(), request)
        .status();
  }
  absl::Status Delete(const std::string& name) override {
    if (name[0] == '@') {
      v1::DeleteSnapshotRequest request;
      request.set_name(name);
      request.set_force(true);
      return TestServer::Call(&v1::VolumeService::Stub::DeleteSnapshot,
                              server_.volumes(), request)
          .status();
    }
    v1::DeleteVolumeRequest request;
    request.set_name(name);
    request.set_force(true);
    return TestServer::Call(&v1::VolumeService::Stub::DeleteVolume,
                            server_.volumes(), request)
        .status();
  }
  absl::Status Snapshot(const std::string& volume,
                        const std::string& name) override {
    v1::CreateSnapshotRequest request;
    request.set_volume(volume);
    request.set_name(name);
    return TestServer::Call(&v1::VolumeService::Stub::CreateSnapshot,
                            server_.volumes(), request)
        .status();
  }
  absl::Status Clone(const std::string& source,
                     const std::string& name) override {
    v1::CreateVolumeRequest request;
    request.set_source(source);
    request.set_name(name);
    return TestServer::Call(&v1::VolumeService::Stub::CreateVolume,
                            server_.volumes(), request)
        .status();
  }

 private:
  engine::Engine& engine() override { return server_.server().engine(); }

  TestServer server_;
  // What it holds is gone before the server.
  const Opener open_;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_CONFORMANCE_GRPC_DEVICE_H_
