#include "server/service/rpc_stats.h"

#include <string_view>

#include "gtest/gtest.h"

namespace ramvol::service {
namespace {

const RpcStats::Method& MethodOf(const RpcStats& stats, std::string_view name) {
  for (const RpcStats::Method& method : stats.methods()) {
    if (method.name == name) return method;
  }
  ADD_FAILURE() << "there is no method " << name;
  return stats.methods()[0];
}

TEST(RpcStatsTest, KnowsTheMethodsOfBothServicesByTheirPaths) {
  const RpcStats stats;
  const RpcStats::Method& read = MethodOf(stats, "Read");
  EXPECT_EQ(read.service, "ramvol.v1.BlockService");
  EXPECT_EQ(read.type, "unary");
  EXPECT_EQ(stats.Find("/ramvol.v1.BlockService/Read"), read.stats.get());
  EXPECT_EQ(MethodOf(stats, "Io").type, "bidi_stream");
  EXPECT_EQ(stats.Find("/ramvol.v1.VolumeService/CreateVolume"),
            MethodOf(stats, "CreateVolume").stats.get());
}

TEST(RpcStatsTest, OtherServicesAreNotCounted) {
  const RpcStats stats;
  EXPECT_EQ(stats.Find("/grpc.health.v1.Health/Check"), nullptr);
  EXPECT_EQ(stats.Find("Read"), nullptr);
}

TEST(RpcStatsTest, CallsAreCountedByCodeAndUnknownCodesAsUnknown) {
  const RpcStats stats;
  MethodStats& read = *stats.Find("/ramvol.v1.BlockService/Read");
  read.Started();
  read.Handled(/*code=*/0, /*took_ns=*/1000);
  read.Handled(14, 1000);
  read.Handled(17, 1000);
  read.Handled(-1, 1000);
  EXPECT_EQ(read.started(), 1u);
  EXPECT_EQ(read.handled(0), 1u);
  EXPECT_EQ(read.handled(14), 1u);
  EXPECT_EQ(read.handled(2), 2u);
  EXPECT_EQ(read.durations().count(), 4u);
  EXPECT_EQ(stats.Find("/ramvol.v1.BlockService/Write")->started(), 0u);
}

TEST(RpcStatsTest, CodesAreSpelledAsInTheEcosystem) {
  EXPECT_STREQ(kCodeNames[0], "OK");
  EXPECT_STREQ(kCodeNames[1], "Canceled");
  EXPECT_STREQ(kCodeNames[16], "Unauthenticated");
}

}  // namespace
}  // namespace ramvol::service
