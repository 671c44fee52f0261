#include "tests/support/test_server.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace ramvol::testing {
namespace {

void AbortUnlessOk(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace

server::ServerOptions TestServerOptions() {
  server::ServerOptions options;
  options.engine.memory_limit_bytes = 256 << 20;
  options.engine.background_threads = 1;
  options.listen = {{.host = "127.0.0.1", .port = 0, .unix_path = ""}};
  return options;
}

TestServer::TestServer(const server::ServerOptions& options) {
  auto server = server::Server::Start(options);
  AbortUnlessOk(server.status());
  server_ = *std::move(server);
  channel_ = NewChannel();
  volumes_ = v1::VolumeService::NewStub(channel_);
  blocks_ = v1::BlockService::NewStub(channel_);
}

std::shared_ptr<grpc::Channel> TestServer::NewChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(server_->grpc_addresses().front(),
                                   grpc::InsecureChannelCredentials(),
                                   arguments);
}

v1::Volume TestServer::CreateVolume(const std::string& name,
                                    int64_t size_bytes) {
  v1::CreateVolumeRequest request;
  request.set_name(name);
  request.set_size_bytes(size_bytes);
  auto response =
      Call(&v1::VolumeService::Stub::CreateVolume, volumes(), request);
  AbortUnlessOk(response.status());
  return response->volume();
}

int32_t TestServer::AttachedClients(const std::string& name) {
  v1::StatVolumeRequest request;
  request.set_name(name);
  auto response =
      Call(&v1::VolumeService::Stub::StatVolume, volumes(), request);
  AbortUnlessOk(response.status());
  return response->stats().attached_clients();
}

}  // namespace ramvol::testing
