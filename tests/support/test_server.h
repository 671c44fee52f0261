// A whole ramvold in the test's own process, on a free port of the loopback.
#ifndef RAMVOL_TESTS_SUPPORT_TEST_SERVER_H_
#define RAMVOL_TESTS_SUPPORT_TEST_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "proto/status.h"
#include "ramvol/v1/block_service.grpc.pb.h"
#include "ramvol/v1/volume_service.grpc.pb.h"
#include "server/server.h"

namespace ramvol::testing {

// Options for a small server: 256 MiB, one free loopback port, no metrics.
server::ServerOptions TestServerOptions();

// Aborts the test's process when the server does not start.
class TestServer {
 public:
  explicit TestServer(
      const server::ServerOptions& options = TestServerOptions());

  server::Server& server() { return *server_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }
  // A channel with a connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel();
  v1::VolumeService::Stub& volumes() { return *volumes_; }
  v1::BlockService::Stub& blocks() { return *blocks_; }

  // Makes a volume; a failure aborts.
  v1::Volume CreateVolume(const std::string& name, int64_t size_bytes);
  int32_t AttachedClients(const std::string& name);

  // Unary calls: Call(&v1::VolumeService::Stub::GetVolume, server.volumes(),
  // request).
  template <typename Stub, typename Request, typename Response>
  static absl::StatusOr<Response> Call(
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   Response*),
      Stub& stub, const Request& request) {
    grpc::ClientContext context;
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }

 private:
  std::unique_ptr<server::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::VolumeService::Stub> volumes_;
  std::unique_ptr<v1::BlockService::Stub> blocks_;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_TEST_SERVER_H_
