// What surrounds the services: listeners, health, reflection, channelz,
// metrics, shutdown.
#include "server/server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/byte_buffer.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "tests/support/eventually.h"
#include "tests/support/http.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::server {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::ramvol::testing::Eventually;
using ::ramvol::testing::HasReason;
using ::ramvol::testing::HttpAnswer;
using ::ramvol::testing::HttpRequest;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::PortOf;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TestServer;
using ::ramvol::testing::TestServerOptions;
using ::testing::HasSubstr;

// A unary call by its method's name.
template <typename Response, typename Request>
absl::StatusOr<Response> CallByName(grpc::Channel* channel, const char* method,
                                    const Request& request) {
  grpc::ClientContext context;
  const grpc::internal::RpcMethod rpc(method,
                                      grpc::internal::RpcMethod::NORMAL_RPC);
  Response response;
  const grpc::Status status = grpc::internal::BlockingUnaryCall(
      channel, rpc, &context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

absl::StatusOr<HealthCheckResponse> CheckHealth(grpc::Channel* channel,
                                                const std::string& service) {
  HealthCheckRequest request;
  request.set_service(service);
  return CallByName<HealthCheckResponse>(
      channel, "/grpc.health.v1.Health/Check", request);
}

TEST(ServerTest, HealthIsServingForEachService) {
  TestServer server;
  for (const char* service :
       {"", "ramvol.v1.VolumeService", "ramvol.v1.BlockService",
        "ramvol.v1.AccessService"}) {
    auto health = CheckHealth(server.channel().get(), service);
    ASSERT_THAT(health, IsOk()) << service;
    EXPECT_EQ(health->status(), HealthCheckResponse::SERVING) << service;
  }
  EXPECT_THAT(CheckHealth(server.channel().get(), "nope"),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

// A watch of the health service neither misses the end nor holds it up.
TEST(ServerTest, ShutdownSaysNotServingToThoseWhoWatch) {
  TestServer server;
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method(
      "/grpc.health.v1.Health/Watch",
      grpc::internal::RpcMethod::SERVER_STREAMING);
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> watch(
      grpc::internal::ClientReaderFactory<HealthCheckResponse>::Create(
          server.channel().get(), method, &context, HealthCheckRequest()));
  HealthCheckResponse health;
  ASSERT_TRUE(watch->Read(&health));
  EXPECT_EQ(health.status(), HealthCheckResponse::SERVING);
  const absl::Time start = absl::Now();
  std::thread shutdown([&server] { server.server().Shutdown(absl::Hours(1)); });
  ASSERT_TRUE(watch->Read(&health));
  EXPECT_EQ(health.status(), HealthCheckResponse::NOT_SERVING);
  while (watch->Read(&health)) {
  }
  watch->Finish();
  shutdown.join();
  EXPECT_LT(absl::Now() - start, absl::Minutes(10));
}

TEST(ServerTest, ReflectionKnowsEveryService) {
  // What reflection serves is the generated pool.
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  for (const char* service :
       {"ramvol.v1.VolumeService", "ramvol.v1.BlockService",
        "ramvol.v1.AccessService", "grpc.health.v1.Health",
        "grpc.channelz.v1.Channelz",
        "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_NE(pool->FindServiceByName(service), nullptr) << service;
  }
}

// What a client gets that sends these bytes as its request.
absl::Status SendBytes(grpc::Channel* channel, const std::string& method,
                       const std::string& bytes) {
  const grpc::Slice slice(bytes);
  grpc::ClientContext context;
  grpc::ByteBuffer response;
  const grpc::internal::RpcMethod rpc(method.c_str(),
                                      grpc::internal::RpcMethod::NORMAL_RPC);
  return FromGrpcStatus(
      grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer,
                                        grpc::ByteBuffer, grpc::ByteBuffer>(
          channel, rpc, &context, grpc::ByteBuffer(&slice, 1), &response));
}

// The generated code answers UNIMPLEMENTED, and protobuf tells standard error.
TEST(ServerTest, MalformedRequestsAreNamed) {
  TestServer server;
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  ::testing::internal::CaptureStderr();
  int methods = 0;
  for (const char* name : {"ramvol.v1.VolumeService", "ramvol.v1.BlockService",
                           "ramvol.v1.AccessService"}) {
    const auto* service = pool->FindServiceByName(name);
    for (int i = 0; i < service->method_count(); ++i) {
      const auto* method = service->method(i);
      const std::string path =
          "/" + service->full_name() + "/" + method->name();
      // The last is a first field that is no UTF-8, where it is a string.
      for (const std::string bytes :
           {"\xff\xff", "\x0a\x7f", "\x0a\x02\xff\xfe"}) {
        const bool is_unknown_field =
            bytes.size() == 4 &&
            (method->input_type()->field_count() == 0 ||
             method->input_type()->field(0)->type() !=
                 google::protobuf::FieldDescriptor::TYPE_STRING);
        if (is_unknown_field) continue;
        const absl::Status status =
            SendBytes(server.channel().get(), path, bytes);
        EXPECT_THAT(status, HasReason(absl::StatusCode::kInvalidArgument,
                                      reason::kMalformedRequest))
            << path;
        EXPECT_THAT(std::string(status.message()),
                    HasSubstr("the request of " + method->name() + " "));
      }
      ++methods;
    }
  }
  EXPECT_EQ(methods, 29);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(ServerTest, ListensOnSeveralAddresses) {
  ASSERT_EQ(chdir(::testing::TempDir().c_str()), 0);
  ServerOptions options = TestServerOptions();
  options.listen.push_back(*ParseListenAddress("unix:both.sock"));
  options.metrics_listen = "127.0.0.1:0";
  auto server = Server::Start(options);
  ASSERT_THAT(server, IsOk());
  ASSERT_EQ((*server)->grpc_addresses().size(), 2);
  EXPECT_EQ((*server)->grpc_addresses()[1], "unix:both.sock");
  EXPECT_THAT((*server)->metrics_url(),
              ::testing::MatchesRegex("http://127.0.0.1:[1-9][0-9]*/metrics"));
  for (const std::string& address : (*server)->grpc_addresses()) {
    auto channel =
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
    EXPECT_THAT(CheckHealth(channel.get(), ""), IsOk()) << address;
  }
  struct stat file{};
  EXPECT_EQ(lstat("both.sock", &file), 0);
  // A second server neither shares the port nor takes the socket away.
  ServerOptions second = TestServerOptions();
  second.listen = {*ParseListenAddress((*server)->grpc_addresses()[0])};
  EXPECT_THAT(Server::Start(second),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("in use")));
  second.listen = {*ParseListenAddress("unix:both.sock")};
  EXPECT_THAT(Server::Start(second), StatusIs(absl::StatusCode::kUnavailable,
                                              HasSubstr("another process")));
  server->reset();
  EXPECT_NE(lstat("both.sock", &file), 0);
}

TEST(ServerTest, BadOptionsAreErrors) {
  ServerOptions options = TestServerOptions();
  options.engine.memory_limit_bytes = 1;
  EXPECT_THAT(Server::Start(options),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  options = TestServerOptions();
  options.metrics_listen = "unix:/x";
  EXPECT_THAT(
      Server::Start(options),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")));
  options.metrics_listen = "192.0.2.1:80";
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kUnavailable,
                                               HasSubstr("192.0.2.1:80")));
}

TEST(ServerTest, ShutdownRefusesWhatComesLate) {
  TestServer server;
  server.CreateVolume("disk", 4096);
  server.server().Shutdown(absl::Minutes(1));
  v1::GetVolumeRequest request;
  request.set_name("disk");
  EXPECT_THAT(TestServer::Call(&v1::VolumeService::Stub::GetVolume,
                               server.volumes(), request),
              StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
}

HttpAnswer Get(Server& server, const std::string& path) {
  return HttpRequest(PortOf(server.metrics_url()), path);
}

TEST(ServerTest, ServesMetricsAndProbes) {
  ServerOptions options = TestServerOptions();
  options.metrics_listen = "127.0.0.1:0";
  options.metrics_max_volumes = 1;
  TestServer server(options);
  server.CreateVolume("a", 1 << 20);
  server.CreateVolume("b", 2 << 20);
  v1::GetVolumeRequest request;
  request.set_name("nobody");
  EXPECT_FALSE(TestServer::Call(&v1::VolumeService::Stub::GetVolume,
                                server.volumes(), request)
                   .ok());
  const std::string text = Get(server.server(), "/metrics").body;
  const std::string create =
      "{grpc_type=\"unary\",grpc_service=\"ramvol.v1.VolumeService\","
      "grpc_method=\"CreateVolume\"";
  const std::string io =
      "{grpc_type=\"bidi_stream\",grpc_service=\"ramvol.v1.BlockService\","
      "grpc_method=\"Io\"";
  for (const std::string& line :
       {std::string("ramvol_build_info{version="),
        std::string("process_start_time_seconds "),
        std::string("ramvol_volumes 2\n"),
        std::string("ramvol_volume_size_bytes{volume=\"a\"} 1048576\n"),
        std::string("ramvol_volume_size_bytes{volume=\"_other\"} 2097152\n"),
        std::string("ramvol_nbd_connections 0\n"),
        std::string("ramvol_io_streams 0\n"),
        "grpc_server_started_total" + create + "} 2\n",
        "grpc_server_handled_total" + create + ",grpc_code=\"OK\"} 2\n",
        "grpc_server_handling_seconds_count" + create + "} 2\n",
        "grpc_server_msg_received_total" + create + "} 2\n",
        "grpc_server_msg_sent_total" + create + "} 2\n",
        "grpc_server_started_total" + io + "} 0\n",
        "grpc_server_handled_total" + io + ",grpc_code=\"OK\"} 0\n",
        std::string("grpc_method=\"GetVolume\",grpc_code=\"NotFound\"} 1\n")}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, ::testing::Not(HasSubstr("grpc.health")));
  EXPECT_EQ(Get(server.server(), "/healthz").code, 200);
  EXPECT_EQ(Get(server.server(), "/readyz").code, 200);
}

TEST(ServerTest, CountsMessagesOfIoStreams) {
  ServerOptions options = TestServerOptions();
  options.metrics_listen = "127.0.0.1:0";
  TestServer server(options);
  server.CreateVolume("a", 1 << 20);
  grpc::ClientContext context;
  auto stream = server.blocks().Io(&context);
  v1::IoRequest request;
  request.set_volume("a");
  v1::IoOperation& operation = *request.add_operations();
  operation.set_id(1);
  operation.mutable_flush();
  ASSERT_TRUE(stream->Write(request));
  v1::IoResponse response;
  int messages = 0;
  for (bool answered = false; !answered;
       answered = response.results_size() > 0) {
    ASSERT_TRUE(stream->Read(&response));
    ++messages;
  }
  EXPECT_THAT(Get(server.server(), "/metrics").body,
              HasSubstr("\nramvol_io_streams 1\n"));
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
  const std::string io =
      "{grpc_type=\"bidi_stream\",grpc_service=\"ramvol.v1.BlockService\","
      "grpc_method=\"Io\"";
  const std::string text = Get(server.server(), "/metrics").body;
  EXPECT_THAT(text, HasSubstr("grpc_server_msg_received_total" + io + "} 1\n"));
  EXPECT_THAT(text, HasSubstr("grpc_server_msg_sent_total" + io + "} " +
                              std::to_string(messages) + "\n"));
  EXPECT_THAT(text, HasSubstr("grpc_server_handled_total" + io +
                              ",grpc_code=\"OK\"} 1\n"));
}

TEST(ServerTest, IsNotReadyWhileMemoryIsExhausted) {
  ServerOptions options = TestServerOptions();
  options.metrics_listen = "127.0.0.1:0";
  options.engine.memory_limit_bytes = 16 << 20;
  TestServer server(options);
  server.CreateVolume("a", 1 << 30);
  const auto volume = *server.server().engine().Find("a");
  EXPECT_EQ(Get(server.server(), "/readyz").code, 200);
  std::mt19937 random;
  absl::Status status;
  for (uint64_t at = 0; status.ok(); at += 65536) {
    std::string noise(65536, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    status = volume->Write(at, noise);
  }
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("")));
  const HttpAnswer answer = Get(server.server(), "/readyz");
  EXPECT_EQ(answer.code, 503);
  EXPECT_THAT(answer.body,
              ::testing::MatchesRegex("memory exhausted: [0-9]+ bytes of the "
                                      "limit of 16777216 .*\n"));
  EXPECT_EQ(Get(server.server(), "/healthz").code, 200);
  ASSERT_THAT(volume->Trim(0, 4 << 20), IsOk());
  EXPECT_EQ(Get(server.server(), "/readyz").code, 200);
}

// An operation that does not end holds the shutdown up.
TEST(ServerTest, IsNotReadyWhileItShutsDown) {
  ServerOptions options = TestServerOptions();
  options.metrics_listen = "127.0.0.1:0";
  TestServer server(options);
  const int port = PortOf(server.server().metrics_url());
  grpc::ClientContext context;
  server.CreateVolume("a", 1 << 20);
  auto stream = server.blocks().Io(&context);
  v1::IoRequest request;
  request.set_volume("a");
  v1::IoOperation& operation = *request.add_operations();
  operation.set_id(1);
  operation.mutable_flush();
  HttpAnswer answer;
  std::promise<void> began;
  server.server().SetOperationHookForTest([&](const v1::IoOperation&) {
    began.set_value();
    EXPECT_TRUE(Eventually([&] {
      answer = HttpRequest(port, "/readyz");
      return answer.code == 503;
    }));
  });
  ASSERT_TRUE(stream->Write(request));
  began.get_future().wait();
  server.server().Shutdown(absl::Minutes(5));
  EXPECT_EQ(answer.code, 503);
  EXPECT_EQ(answer.body, "shutting down\n");
}

TEST(DefaultMemoryLimitTest, LeavesRoomForTheProcess) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  EXPECT_EQ(DefaultMemoryLimit(104 * kMiB), 39 * kMiB);
  EXPECT_EQ(DefaultMemoryLimit(512 * kMiB), 224 * kMiB);
  // A quarter of it is for clients, and 128 MiB for the rest.
  EXPECT_EQ(DefaultMemoryLimit(1128 * kMiB), 800 * kMiB);
  EXPECT_EQ(DefaultMemoryLimit(4128 * kMiB), 3200 * kMiB);
  EXPECT_EQ(DefaultMemoryLimit(100'000 * kMiB), 80'000 * kMiB);
  EXPECT_EQ(DefaultMemoryLimit(1024 * kMiB, 500 * kMiB), 396 * kMiB);
}

TEST(DefaultMemoryLimitTest, FitsTheClientMemoryToo) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  for (uint64_t available = 512 * kMiB; available < 20'000 * kMiB;
       available += 97 * kMiB) {
    const uint64_t limit = DefaultMemoryLimit(available);
    EXPECT_LE(limit + DefaultClientMemory(limit) + 128 * kMiB, available);
  }
}

TEST(ServerTest, RefusesTooLittleClientMemory) {
  ServerOptions options = TestServerOptions();
  options.client_memory_bytes = kMinClientMemoryBytes - 1;
  EXPECT_THAT(Server::Start(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("160M")));
}

TEST(ServerTest, TakesSocketsThatListenAlready) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ServerOptions options = TestServerOptions();
  options.grpc_sockets = {fd};
  EXPECT_THAT(Server::Start(options).status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("not a listening socket")));

  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&loopback),
                 sizeof(loopback)),
            0);
  ASSERT_EQ(listen(listener, 1), 0);
  options.listen.clear();
  options.grpc_sockets = {listener};
  auto server = Server::Start(options);
  ASSERT_THAT(server, IsOk());
  ASSERT_EQ((*server)->grpc_addresses().size(), 1);
  const auto channel = grpc::CreateChannel((*server)->grpc_addresses()[0],
                                           grpc::InsecureChannelCredentials());
  EXPECT_THAT(CheckHealth(channel.get(), ""), IsOk());
  (*server)->Shutdown(absl::Seconds(1));
  EXPECT_THAT(CheckHealth(channel.get(), "").status(),
              StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
}

}  // namespace
}  // namespace ramvol::server
