#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/command_line_fixture.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ShowCommandsTest : public CommandLineTest {};

TEST_F(ShowCommandsTest, StatIsReadable) {
  Run("create a 1G");
  v1::VolumeStats& stats = cli_.server().stats;
  stats.set_stored_bytes(100 << 20);
  stats.set_memory_bytes(110 << 20);
  stats.set_own_bytes(10 << 20);
  stats.set_shared_bytes(100 << 20);
  stats.set_ratio(4);
  stats.mutable_blocks()->set_compressed(300);
  stats.mutable_blocks()->set_raw(100);
  v1::FrameCount* frames = stats.add_frames();
  frames->set_span_blocks(16);
  frames->set_frames(10);
  frames->set_stored_bytes(10 * 16384);
  stats.mutable_io()->set_write_operations(7);
  stats.mutable_io()->set_written_bytes(7 << 20);
  stats.mutable_io()->set_write_nanoseconds(7 * 1250);
  stats.mutable_io()->set_cache_hits(3);
  stats.mutable_io()->set_cache_misses(1);
  stats.mutable_io()->set_compress_nanoseconds(1500000000);
  EXPECT_EQ(Run("stat a").out, R"(Name:          a
Size:          1 GiB (1073741824 bytes)
Data:          0 bytes
Stored:        100 MiB (104857600 bytes)
Ratio:         4.00
Memory:        110 MiB (115343360 bytes)
Own:           10 MiB (10485760 bytes)
Shared:        100 MiB (104857600 bytes)
Memory limit:  none
Hot:           0 B, of which 0 B not yet compressed
Dead:          0 B
Attached:      0 clients

BLOCKS       COUNT     BYTES  SHARE
compressed     300  1.17 MiB  75.0%
raw            100   400 KiB  25.0%
same-filled      0       0 B   0.0%
dirty            0       0 B   0.0%

FRAMES  COUNT   STORED  RATIO
64 KiB     10  160 KiB   4.00

I/O      OPERATIONS  BYTES
read              0    0 B
write             7  7 MiB
trim              0    0 B
zero              0    0 B
flush             0      -
extents           0      -
failed            0      -

Cache:       3 hits, 1 miss (75.0% hits)
Mean time:   no read yet, 1.2 us a write
Background:  0 frames merged, 0 split
zstd:        1.500 s compressing, 0.000 s decompressing
Corrupt:     0 frames
)");
  EXPECT_THAT(Run("stat a --output=json").out,
              HasSubstr("\"storedBytes\": \"104857600\""));
}

TEST_F(ShowCommandsTest, ClientsAreListed) {
  cli_.context().now = [] { return absl::FromUnixSeconds(1000 + 3725); };
  Run("create a 1G");
  EXPECT_EQ(Run("clients a").out,
            "PROTOCOL  ADDRESS  SINCE  FOR  READ  WRITTEN\n");
  for (const char* protocol : {"nbd", "io"}) {
    v1::AttachedClient& client = cli_.server().clients.emplace_back();
    client.set_protocol(protocol);
    client.set_address("10.0.0.7:40112");
    client.mutable_attach_time()->set_seconds(1000);
  }
  v1::AttachedClient& first = cli_.server().clients.front();
  first.set_read_operations(1100);
  first.set_read_bytes(1537 << 10);
  first.set_write_operations(2);
  first.set_written_bytes(8192);
  EXPECT_EQ(Run("clients a").out,
            "PROTOCOL  ADDRESS         SINCE                       FOR      "
            "READ  WRITTEN\n"
            "nbd       10.0.0.7:40112  1970-01-01 00:16:40 UTC  1h2m5s  1.50 "
            "MiB    8 KiB\n"
            "io        10.0.0.7:40112  1970-01-01 00:16:40 UTC  1h2m5s       0 "
            "B      0 B\n");
  EXPECT_THAT(Run("clients a -o wide").out,
              AllOf(HasSubstr("WRITTEN  READS  WRITES\n"),
                    HasSubstr("  1.50 MiB    8 KiB   1100       2\n")));
  const auto message =
      FromJson<v1::ListClientsResponse>(Run("clients a -o json").out);
  ASSERT_EQ(message.clients_size(), 2);
  EXPECT_EQ(message.clients(0).read_operations(), 1100);
  EXPECT_EQ(message.clients(0).written_bytes(), 8192);
  EXPECT_EQ(Run("clients b").exit_code, 3);
}

TEST_F(ShowCommandsTest, ServerIsDescribed) {
  cli_.context().now = [] { return absl::FromUnixSeconds(1000 + 3725); };
  EXPECT_THAT(Run("server").out,
              AllOf(HasSubstr("Version:       9.8.7\n"),
                    HasSubstr("1h2m5s since 1970-01-01 00:16:40 UTC"),
                    HasSubstr("256 MiB (268435456 bytes), 25.0%")));
  EXPECT_THAT(Run("server --output=json").out,
              HasSubstr("\"version\": \"9.8.7\""));
}

TEST_F(ShowCommandsTest, HealthIsZeroOnlyWhileServing) {
  const auto serving = Run("health");
  EXPECT_EQ(serving.exit_code, 0);
  EXPECT_EQ(serving.out, "SERVING\n");
  EXPECT_EQ(cli_.options().reconnect_timeout, absl::ZeroDuration());
  EXPECT_THAT(Run("health --output=json").out,
              HasSubstr("\"status\": \"SERVING\""));
  cli_.server().set_failure(
      absl::FailedPreconditionError("the server says NOT_SERVING"));
  const auto stopping = Run("health");
  EXPECT_EQ(stopping.exit_code, 1);
  EXPECT_EQ(stopping.out, "");
  EXPECT_THAT(stopping.err, HasSubstr("the server says NOT_SERVING"));
  cli_.server().set_failure(absl::UnavailableError("refused"));
  EXPECT_EQ(Run("health --timeout=1s").exit_code, 5);
}

}  // namespace
}  // namespace ramvol::cli
