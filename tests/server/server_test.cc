// What surrounds the services: listeners, health, reflection, channelz,
// metrics, shutdown.
#include "server/server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "server/metrics/engine_metrics.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::server {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::ramvol::testing::IsOk;
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
       {"", "ramvol.v1.VolumeService", "ramvol.v1.BlockService"}) {
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
        "grpc.health.v1.Health", "grpc.channelz.v1.Channelz",
        "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_NE(pool->FindServiceByName(service), nullptr) << service;
  }
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

// Finds the value of a metric without or with a volume label.
double Value(const std::vector<prometheus::MetricFamily>& families,
             const std::string& name, const std::string& volume = "") {
  for (const auto& family : families) {
    if (family.name != name) continue;
    for (const auto& metric : family.metric) {
      const bool match = volume.empty() || (metric.label.size() == 1 &&
                                            metric.label[0].value == volume);
      if (!match) continue;
      return family.type == prometheus::MetricType::Counter
                 ? metric.counter.value
                 : metric.gauge.value;
    }
  }
  ADD_FAILURE() << "no " << name << " of \"" << volume << "\"";
  return -1;
}

TEST(ServerTest, MetricsFollowTheEngine) {
  TestServer server;
  server.CreateVolume("a", 1 << 20);
  server.CreateVolume("b", 2 << 20);
  auto volume = server.server().engine().Find("a");
  ASSERT_THAT(volume, IsOk());
  ASSERT_THAT((*volume)->Write(0, std::string(4096, 'x')), IsOk());
  const metrics::EngineMetrics metrics(&server.server().engine());
  const auto families = metrics.Collect();
  EXPECT_EQ(Value(families, "ramvol_volumes"), 2);
  EXPECT_EQ(Value(families, "ramvol_memory_limit_bytes"), 256 << 20);
  EXPECT_GT(Value(families, "ramvol_memory_resident_bytes"), 0);
  EXPECT_EQ(Value(families, "ramvol_build_info"), 1);
  EXPECT_EQ(Value(families, "ramvol_volume_size_bytes", "b"), 2 << 20);
  EXPECT_EQ(Value(families, "ramvol_volume_logical_bytes", "a"), 4096);
  EXPECT_EQ(Value(families, "ramvol_volume_logical_bytes", "b"), 0);
  for (const char* name :
       {"ramvol_memory_used_bytes", "ramvol_memory_allocated_bytes",
        "ramvol_hot_cache_bytes", "ramvol_hot_cache_hits_total",
        "ramvol_hot_cache_misses_total", "ramvol_hot_cache_evictions_total"}) {
    EXPECT_GE(Value(families, name), 0) << name;
  }
}

TEST(ServerTest, CacheCountersOutliveTheirVolumes) {
  TestServer server;
  server.CreateVolume("a", 1 << 20);
  auto& engine = server.server().engine();
  auto volume = engine.Find("a");
  ASSERT_THAT(volume, IsOk());
  ASSERT_THAT((*volume)->Write(0, std::string(4096, 'x')), IsOk());
  std::string out(4096, '\0');
  ASSERT_THAT((*volume)->Read(0, absl::MakeSpan(out)), IsOk());
  const metrics::EngineMetrics metrics(&engine);
  const auto sum = [&metrics] {
    const auto families = metrics.Collect();
    return Value(families, "ramvol_hot_cache_hits_total") +
           Value(families, "ramvol_hot_cache_misses_total");
  };
  const double before = sum();
  EXPECT_EQ(sum(), before);
  ASSERT_THAT(engine.DeleteVolume(*volume, true), IsOk());
  EXPECT_EQ(sum(), before);
}

TEST(DefaultMemoryLimitTest, LeavesRoomForTheProcess) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  EXPECT_EQ(DefaultMemoryLimit(100 * kMiB), 50 * kMiB);
  EXPECT_EQ(DefaultMemoryLimit(512 * kMiB), 256 * kMiB);
  EXPECT_EQ(DefaultMemoryLimit(1024 * kMiB), 768 * kMiB);
  EXPECT_EQ(DefaultMemoryLimit(100'000 * kMiB), 80'000 * kMiB);
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
