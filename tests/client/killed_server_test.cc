// The SDK goes on across servers that are killed, when they have a --state_dir.
// RAMVOL_TEST_STEPS kills in each test that kills many, RAMVOL_TEST_SEED.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
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
using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;
using ::testing::HasSubstr;

constexpr int kKills = 8;
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

  static constexpr size_t kVersionedBytes = 64 * 4096;

  // The part of a volume or snapshot that VersionWriter writes.
  std::string Content(const std::string& name) {
    auto volume = client_.Open(name);
    EXPECT_THAT(volume.status(), IsOk()) << name;
    if (!volume.ok()) return "";
    auto content = volume->Read(0, kVersionedBytes);
    EXPECT_THAT(content.status(), IsOk()) << name;
    return content.value_or("");
  }
  // "@kept-N", and of it "clone-N".
  void MakeCopies(int number) {
    v1::CreateSnapshotRequest keep;
    keep.set_volume("disk");
    keep.set_name(absl::StrCat("kept-", number));
    ASSERT_THAT(client_.CreateSnapshot(keep).status(), IsOk());
    v1::CreateVolumeRequest clone;
    clone.set_name(absl::StrCat("clone-", number));
    clone.set_source(absl::StrCat("@kept-", number));
    ASSERT_THAT(client_.CreateVolume(clone).status(), IsOk());
  }
  void DeleteCopies(int number) {
    v1::DeleteVolumeRequest clone;
    clone.set_name(absl::StrCat("clone-", number));
    EXPECT_THAT(client_.DeleteVolume(clone), IsOk());
    v1::DeleteSnapshotRequest snapshot;
    snapshot.set_name(absl::StrCat("kept-", number));
    EXPECT_THAT(client_.DeleteSnapshot(snapshot), IsOk());
  }
  int64_t AllocatedBytes() {
    const auto info = client_.GetServerInfo();
    EXPECT_THAT(info.status(), IsOk());
    return info.ok() ? info->memory_allocated_bytes() : -1;
  }
  // Closing a stream, which holds its volume's record, takes a moment.
  void ExpectAllocated(int64_t bytes) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (AllocatedBytes() != bytes && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    EXPECT_EQ(AllocatedBytes(), bytes);
  }

  std::mt19937_64 random_{TestSeed(std::random_device()())};
  const int kills_ = TestSteps(kKills);
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

// Writes one version after the other, each to a block chosen at random. So at
// any instant, each block has the last one of all up to some version.
class VersionWriter {
 public:
  static constexpr int kBlocks = 64;

  VersionWriter(const RemoteVolume& volume, uint64_t seed)
      : volume_(volume), random_(seed) {}

  void Run(const std::atomic<bool>& stop) {
    while (!stop.load()) {
      const auto block = static_cast<int>(random_() % kBlocks);
      {
        const std::lock_guard<std::mutex> lock(mu_);
        blocks_.push_back(block);
      }
      ASSERT_THAT(volume_.Write(block * kBlockBytes, Content(blocks_.size())),
                  IsOk());
    }
  }

  // Whether this was the content at some instant.
  bool WasContent(const std::string& content) {
    size_t last = 0;
    for (int i = 0; i < kBlocks; ++i) {
      last = std::max(last, VersionIn(content, i));
    }
    const std::lock_guard<std::mutex> lock(mu_);
    if (last > blocks_.size()) return false;
    std::vector<size_t> expected(kBlocks);
    for (size_t i = 0; i < last; ++i) expected[blocks_[i]] = i + 1;
    for (int i = 0; i < kBlocks; ++i) {
      if (VersionIn(content, i) != expected[i]) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t kBlockBytes = 4096;

  // Every third compresses well, every third is one pattern.
  static std::string Content(size_t version) {
    std::string block(kBlockBytes, '\0');
    std::mt19937_64 noise(version);
    for (int64_t i = 0; i < kBlockBytes; i += sizeof(version)) {
      const uint64_t word = i == 0 || version % 3 == 0 ? version
                            : version % 3 == 1 ? static_cast<uint64_t>(i / 512)
                                               : noise();
      std::memcpy(&block[i], &word, sizeof(word));
    }
    return block;
  }
  static size_t VersionIn(const std::string& content, int block) {
    const std::string found = content.substr(block * kBlockBytes, kBlockBytes);
    size_t version;
    std::memcpy(&version, found.data(), sizeof(version));
    const bool whole = version == 0 ? found == std::string(kBlockBytes, '\0')
                                    : found == Content(version);
    return whole ? version : ~size_t{0};
  }

  const RemoteVolume& volume_;
  std::mt19937_64 random_;
  std::mutex mu_;
  std::vector<int> blocks_;  // By version - 1. Only the writer changes it.
};

// Snapshots and clones of a volume that is being written are made and deleted
// while the server is killed. Each is the volume at one instant, and in the end
// all memory comes back.
TEST_F(KilledServerTest, SnapshotsAndClonesAreOfOneInstant) {
  const int64_t allocated = AllocatedBytes();
  Create(Request("disk", ""));
  std::atomic<bool> stop = false;
  {
    auto volume = client_.Open("disk");
    ASSERT_THAT(volume.status(), IsOk());
    VersionWriter writer(*volume, random_());
    std::thread writes([&] { writer.Run(stop); });
    int made = 0;
    std::thread copies([&] {
      for (; !stop.load() || made <= 3; ++made) {
        ASSERT_NO_FATAL_FAILURE(MakeCopies(made));
        if (made >= 3) DeleteCopies(made - 3);
      }
    });
    for (int i = 0; i < kills_; ++i) KillSoon();
    stop.store(true);
    writes.join();
    copies.join();
    EXPECT_TRUE(writer.WasContent(Content("disk")));
    for (int i = std::max(0, made - 3); i < made; ++i) {
      const std::string snapshot = Content(absl::StrCat("@kept-", i));
      EXPECT_TRUE(writer.WasContent(snapshot)) << i;
      EXPECT_TRUE(Content(absl::StrCat("clone-", i)) == snapshot) << i;
      DeleteCopies(i);
    }
    EXPECT_GT(made, 3);
  }
  v1::DeleteVolumeRequest remove;
  remove.set_name("disk");
  remove.set_force(true);
  EXPECT_THAT(client_.DeleteVolume(remove), IsOk());
  ExpectAllocated(allocated);
}

TEST_F(KilledServerTest, AnOpenVolumeGoesOn) {
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
  for (int i = 0; i < kills_; ++i) KillSoon();
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
  for (int i = 0; i < kills_; ++i) KillSoon();
  stop.store(true);
  maker.join();
  EXPECT_EQ(client_.ListVolumes()->size(), static_cast<size_t>(made));
}

}  // namespace
}  // namespace ramvol
