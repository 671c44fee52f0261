#include "csi/device_size.h"

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace ramvol::csi_driver {
namespace {

TEST(SizeOfDeviceTest, IsTakenFromSysfs) {
  const std::string sys = ::testing::TempDir() + "/sys";
  std::filesystem::create_directories(sys + "/block/nbd3");
  std::ofstream(sys + "/block/nbd3/size") << "41943040\n";
  EXPECT_EQ(SizeOfDevice("/dev/nbd3", sys), uint64_t{20} << 30);
  EXPECT_EQ(SizeOfDevice("/dev/nbd4", sys), 0u);
  EXPECT_EQ(SizeOfDevice("", sys), 0u);
}

// Else what is not known would be taken for filled, and never grow.
TEST(SizeOfDeviceTest, AFileSystemFillsOnlyWhatIsKnown) {
  const std::string sys = ::testing::TempDir() + "/sys";
  std::filesystem::create_directories(sys + "/block/nbd5");
  std::ofstream(sys + "/block/nbd5/size") << "8\n";
  EXPECT_TRUE(FillsDevice(4096, "/dev/nbd5", sys));
  EXPECT_FALSE(FillsDevice(4095, "/dev/nbd5", sys));
  EXPECT_FALSE(FillsDevice(4096, "/dev/nbd4", sys));
  // As one that was just made.
  EXPECT_TRUE(FillsDevice(UINT64_MAX, "/dev/nbd4", sys));
}

// Which would wait for a writer, as a device may wait for ramvold.
TEST(SizeOfDeviceTest, NothingIsOpened) {
  const std::string device = ::testing::TempDir() + "/pipe";
  ASSERT_EQ(mkfifo(device.c_str(), 0600), 0);
  EXPECT_EQ(SizeOfDevice(device), 0u);
}

}  // namespace
}  // namespace ramvol::csi_driver
