// The registry of volumes.
#include "server/engine/engine.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/volume.h"
#include "tests/server/engine/support/volume_fixture.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;

class EngineTest : public VolumeTest {};

TEST_F(EngineTest, RegistryListsByNameAndRefusesDuplicates) {
  for (const char* name : {"b", "a", "c"}) {
    VolumeOptions options;
    options.name = name;
    options.size_bytes = 1;
    ASSERT_TRUE(engine_->CreateVolume(options).ok());
  }
  VolumeOptions again;
  again.name = "b";
  again.size_bytes = 1;
  EXPECT_EQ(GetReason(engine_->CreateVolume(again).status()),
            reason::kVolumeExists);
  std::vector<std::string> names;
  for (const auto& volume : engine_->List("a", 10)) {
    names.push_back(volume.name);
  }
  EXPECT_THAT(names, ElementsAre("b", "c"));
}

TEST_F(EngineTest, ARenamedVolumeStaysWhatItIs) {
  VolumeOptions options;
  options.size_bytes = 1 << 20;
  for (const char* name : {"a", "b"}) {
    options.name = name;
    ASSERT_TRUE(engine_->CreateVolume(options).ok());
  }
  const std::shared_ptr<Volume> volume = engine_->Find("a").value();
  const Attachment attachment =
      Attachment::Make(volume, {"nbd", "here"}).value();
  ASSERT_TRUE(volume->Write(0, std::string(10, 'x')).ok());
  EXPECT_EQ(GetReason(engine_->RenameVolume(volume, "b")),
            reason::kVolumeExists);
  EXPECT_EQ(GetReason(engine_->RenameVolume(volume, "a")),
            reason::kVolumeExists);
  EXPECT_EQ(GetReason(engine_->RenameVolume(volume, "-")),
            reason::kInvalidName);
  EXPECT_EQ(volume->name(), "a");
  ASSERT_TRUE(engine_->RenameVolume(volume, "c").ok());
  EXPECT_EQ(engine_->Find("c").value(), volume);
  EXPECT_EQ(engine_->FindUid(volume->uid()), volume);
  EXPECT_EQ(GetReason(engine_->Find("a").status()), reason::kVolumeNotFound);
  EXPECT_EQ(volume->options().name, "c");
  std::string data(10, ' ');
  ASSERT_TRUE(attachment.volume().Read(0, absl::MakeSpan(data)).ok());
  EXPECT_EQ(data, std::string(10, 'x'));
  EXPECT_THAT(
      std::string(volume->Read(1 << 20, absl::MakeSpan(data)).message()),
      ::testing::HasSubstr("volume \"c\""));
  // The old name is free.
  options.name = "a";
  EXPECT_TRUE(engine_->CreateVolume(options).ok());
  EXPECT_TRUE(engine_->DeleteVolume(volume, true).ok());
  EXPECT_EQ(engine_->FindUid(volume->uid()), nullptr);
  EXPECT_EQ(GetReason(engine_->RenameVolume(volume, "d")),
            reason::kVolumeDeleted);
}

}  // namespace
}  // namespace ramvol::engine
