#include "server/service/io_stream_set.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "gmock/gmock.h"
#include "google/protobuf/repeated_field.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/call_gate.h"
#include "server/service/limits.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FakeStream final : public OpenStream {
 public:
  void Drain() override { ++drained; }
  void Replace(std::shared_ptr<const void>) override {}

  int drained = 0;
};

class IoStreamSetTest : public ::testing::Test {
 protected:
  // One that has entered; each from another machine.
  FakeStream* Add() {
    auto stream = std::make_shared<FakeStream>();
    EXPECT_TRUE(gate_.Enter());
    EXPECT_EQ(set_.Add(stream, absl::StrCat("ipv4:10.0.0.", ++peers_, ":1")),
              IoStreamSet::Answer::kEntered);
    return stream.get();
  }
  std::vector<const OpenStream*> Find(const OpenStream* asks,
                                      const std::vector<uint64_t>& ids) {
    std::vector<const OpenStream*> found;
    for (const auto& stream :
         set_.FindOthers(asks, google::protobuf::RepeatedField<uint64_t>(
                                   ids.begin(), ids.end()))) {
      found.push_back(stream.get());
    }
    return found;
  }

  int peers_ = 0;
  ClientMemory memory_{ClientMemory::Options()};
  CallGate gate_;
  IoStreamSet set_{&gate_, &memory_};
};

TEST_F(IoStreamSetTest, WhoIsTakenOutLeavesTheGate) {
  FakeStream* const first = Add();
  FakeStream* const second = Add();
  EXPECT_EQ(set_.size(), 2);
  set_.Remove(first);
  EXPECT_EQ(set_.size(), 1);
  EXPECT_FALSE(gate_.WaitUntilEmpty(absl::ZeroDuration()));
  set_.Remove(second);
  EXPECT_TRUE(gate_.WaitUntilEmpty(absl::ZeroDuration()));
}

TEST_F(IoStreamSetTest, DrainsAllThatAreIn) {
  FakeStream* const gone = Add();
  set_.Remove(gone);
  FakeStream* const first = Add();
  FakeStream* const second = Add();
  set_.DrainAll();
  EXPECT_EQ(first->drained, 1);
  EXPECT_EQ(second->drained, 1);
}

TEST_F(IoStreamSetTest, AMachineHasItsShare) {
  size_t entered = 0;
  IoStreamSet::Answer answer = IoStreamSet::Answer::kEntered;
  while (answer == IoStreamSet::Answer::kEntered) {
    answer = set_.Add(std::make_shared<FakeStream>(),
                      absl::StrCat("ipv4:10.1.0.1:", ++entered));
  }
  EXPECT_EQ(answer, IoStreamSet::Answer::kTooMany);
  EXPECT_GE(set_.size(), kMaxStreams / 2);
  Add();
}

TEST_F(IoStreamSetTest, AnIdIsOneStreamsUntilItIsGone) {
  FakeStream* const first = Add();
  FakeStream* const second = Add();
  EXPECT_THAT(set_.Name(first, 7), IsOk());
  EXPECT_THAT(set_.Name(second, 7), IsInvalidField("stream_id"));
  set_.Remove(first);
  EXPECT_THAT(set_.Name(second, 7), IsOk());
  // 0 is no id.
  EXPECT_THAT(set_.Name(Add(), 0), IsOk());
  EXPECT_THAT(set_.Name(Add(), 0), IsOk());
}

TEST_F(IoStreamSetTest, FindsOthersById) {
  FakeStream* const first = Add();
  FakeStream* const second = Add();
  ASSERT_THAT(set_.Name(first, 1), IsOk());
  ASSERT_THAT(set_.Name(second, 2), IsOk());
  EXPECT_THAT(Find(second, {1, 2, 3, 0}), ElementsAre(first));
  set_.Remove(first);
  EXPECT_THAT(Find(second, {1}), IsEmpty());
}

TEST_F(IoStreamSetTest, StreamsOfOneClientShareAnAttachment) {
  engine::EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.background_threads = 1;
  const auto engine = *engine::Engine::Create(options);
  engine::VolumeOptions of_disk;
  of_disk.name = "disk";
  of_disk.size_bytes = 1 << 20;
  const auto volume = *engine->CreateVolume(of_disk);
  const auto attach = [&](uint64_t client_id, bool if_unattached = false) {
    return set_.Attach(client_id, volume, {"io", "test"}, if_unattached);
  };
  auto first = attach(1);
  auto same = attach(1, /*if_unattached=*/true);
  ASSERT_THAT(first.status(), IsOk());
  ASSERT_THAT(same.status(), IsOk());
  EXPECT_EQ(first->get(), same->get());
  EXPECT_FALSE(attach(2, /*if_unattached=*/true).ok());
  // 0 is nobody's id.
  auto nobody = attach(0);
  auto another = attach(0);
  EXPECT_EQ(volume->Stats().attached_clients, 3);
  first->reset();
  same->reset();
  nobody->reset();
  another->reset();
  EXPECT_EQ(volume->Stats().attached_clients, 0);
  EXPECT_THAT(attach(2, /*if_unattached=*/true).status(), IsOk());
}

}  // namespace
}  // namespace ramvol::service
