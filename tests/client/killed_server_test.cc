// The SDK goes on across servers that are killed, when they have a --state_dir.
#include <signal.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/process.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::Process;
using ::ramvol::testing::RandomData;
using ::testing::HasSubstr;

constexpr int kKills = 12;
constexpr int64_t kPartBytes = 1 << 20;
// Relative, because a socket's path may have 107 bytes at most.
constexpr char kSocket[] = "unix:killed.sock";

class KilledServerTest : public ::testing::Test {
 protected:
  KilledServerTest() { Start(); }

  void Start() {
    server_ = std::make_unique<Process>(
        "server/ramvold",
        std::vector<std::string>{absl::StrCat("--listen=", kSocket),
                                 "--metrics_listen=", "--memory_limit=128M",
                                 absl::StrCat("--state_dir=", dir_.path())});
    ASSERT_THAT(server_->ReadLine(), HasSubstr("ready"));
  }
  void KillAndStart() {
    server_->Signal(SIGKILL);
    server_->ExitCode();
    Start();
  }
  // At some time within the next 100 ms.
  void KillSoon() {
    absl::SleepFor(absl::Milliseconds(random_() % 100));
    KillAndStart();
  }
  v1::Volume Create(const v1::CreateVolumeRequest& request) {
    auto volume = client_.CreateVolume(request);
    EXPECT_THAT(volume.status(), IsOk());
    return volume.value_or(v1::Volume());
  }
  static v1::CreateVolumeRequest Request(const std::string& name,
                                         const std::string& id) {
    v1::CreateVolumeRequest request;
    request.set_name(name);
    request.set_size_bytes(64 << 20);
    request.set_request_id(id);
    return request;
  }

  const uint64_t seed_ = std::random_device()();
  std::mt19937_64 random_{seed_};
  engine::ShmDir dir_;
  std::unique_ptr<Process> server_;
  const Client client_{{.server = kSocket}};
};

// Writes random ranges of a part of the volume, and finds all of it again.
void WriteAndCheck(const RemoteVolume& volume, int64_t begin, uint64_t seed,
                   const std::atomic<bool>& stop) {
  std::mt19937_64 random(seed);
  std::string model(kPartBytes, '\0');
  while (!stop.load()) {
    for (int i = 0; i < 20; ++i) {
      const size_t length = 1 + random() % 100'000;
      const size_t at = random() % (kPartBytes - length);
      const std::string data = RandomData(random, length);
      ASSERT_THAT(volume.Write(begin + static_cast<int64_t>(at), data), IsOk());
      model.replace(at, length, data);
    }
    const auto found = volume.Read(begin, kPartBytes);
    ASSERT_THAT(found.status(), IsOk());
    ASSERT_TRUE(*found == model);
  }
}

TEST_F(KilledServerTest, AnOpenVolumeGoesOn) {
  SCOPED_TRACE(absl::StrCat("seed ", seed_));
  Create(Request("disk", ""));
  auto volume = client_.Open("disk");
  ASSERT_THAT(volume.status(), IsOk());
  std::atomic<bool> stop = false;
  std::vector<std::thread> writers;
  for (int i = 0; i < 3; ++i) {
    writers.emplace_back([&, i, seed = random_()] {
      WriteAndCheck(*volume, i * kPartBytes, seed, stop);
    });
  }
  for (int i = 0; i < kKills; ++i) KillSoon();
  stop.store(true);
  for (std::thread& writer : writers) writer.join();
  EXPECT_GT(client_.reconnects(), 0u);
}

TEST_F(KilledServerTest, AnsweredRequestsGetTheSameAnswer) {
  const v1::CreateVolumeRequest create = Request("disk", "create");
  const v1::Volume created = Create(create);
  v1::CreateSnapshotRequest keep;
  keep.set_volume("disk");
  keep.set_request_id("keep");
  const auto kept = client_.CreateSnapshot(keep);
  ASSERT_THAT(kept.status(), IsOk());
  v1::RenameVolumeRequest rename;
  rename.set_name("disk");
  rename.set_new_name("moved");
  rename.set_request_id("rename");
  const auto renamed = client_.RenameVolume(rename);
  ASSERT_THAT(renamed.status(), IsOk());
  KillAndStart();
  EXPECT_EQ(Create(create).SerializeAsString(), created.SerializeAsString());
  const auto kept_again = client_.CreateSnapshot(keep);
  ASSERT_THAT(kept_again.status(), IsOk());
  EXPECT_EQ(kept_again->SerializeAsString(), kept->SerializeAsString());
  const auto renamed_again = client_.RenameVolume(rename);
  ASSERT_THAT(renamed_again.status(), IsOk());
  EXPECT_EQ(renamed_again->SerializeAsString(), renamed->SerializeAsString());
  EXPECT_EQ(client_.ListVolumes()->size(), 1u);
}

TEST_F(KilledServerTest, RequestsUnderWayHappenOnce) {
  SCOPED_TRACE(absl::StrCat("seed ", seed_));
  std::atomic<bool> stop = false;
  int made = 0;
  std::thread maker([&] {
    for (; !stop.load(); ++made) {
      const auto request =
          Request(absl::StrCat("v", made), absl::StrCat("id", made));
      const v1::Volume first = Create(request);
      EXPECT_EQ(Create(request).uid(), first.uid());
    }
  });
  for (int i = 0; i < kKills; ++i) KillSoon();
  stop.store(true);
  maker.join();
  EXPECT_EQ(client_.ListVolumes()->size(), static_cast<size_t>(made));
}

}  // namespace
}  // namespace ramvol
