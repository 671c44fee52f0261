#include "client/attach/nbd_devices.h"

#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/attach/fake_kernel.h"

namespace ramvol {
namespace {

using ::testing::Eq;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

TEST(NbdDevicesTest, OnlyWholeDevicesHaveAnIndex) {
  EXPECT_THAT(ParseNbdDevice("/dev/nbd0"), Optional(0));
  EXPECT_THAT(ParseNbdDevice("/dev/nbd15"), Optional(15));
  EXPECT_EQ(NbdDevicePath(15), "/dev/nbd15");
  for (const char* other : {"", "nbd0", "/dev/nbd", "/dev/nbd0p1", "/dev/sda",
                            "/dev/nbd-1", "/dev/nbd99999999999"}) {
    EXPECT_THAT(ParseNbdDevice(other), Eq(std::nullopt)) << other;
  }
}

TEST(NbdDevicesTest, BackendsTellVolumesApart) {
  const NbdBackend backend = {.name = "disk", .uid = "a:b"};
  EXPECT_EQ(backend.ToString(), "ramvol:disk:a:b");
  EXPECT_EQ(ParseNbdBackend("ramvol:disk:a:b")->name, "disk");
  EXPECT_EQ(ParseNbdBackend("ramvol:disk:a:b")->uid, "a:b");
  EXPECT_FALSE(ParseNbdBackend("ramvol:disk:a:b")->by_csi);
  const NbdBackend csi = {.name = "disk", .uid = "a:b", .by_csi = true};
  EXPECT_EQ(csi.ToString(), "ramvol-csi:disk:a:b");
  EXPECT_EQ(ParseNbdBackend(csi.ToString())->name, "disk");
  EXPECT_EQ(ParseNbdBackend(csi.ToString())->uid, "a:b");
  EXPECT_TRUE(ParseNbdBackend(csi.ToString())->by_csi);
  EXPECT_THAT(ParseNbdBackend("").has_value(), Eq(false));
  EXPECT_THAT(ParseNbdBackend("ramvol:disk").has_value(), Eq(false));
  EXPECT_THAT(ParseNbdBackend("rbd/disk:a").has_value(), Eq(false));
}

TEST(NbdDevicesTest, FindsWhatIsAttached) {
  const std::string sys = ::testing::TempDir() + "/nbd_devices_test";
  EXPECT_THAT(AttachedNbdDevices(sys), IsEmpty());
  FakeKernel kernel(sys);
  EXPECT_THAT(AttachedNbdDevices(sys), IsEmpty());
  kernel.AddDevice(12, "ramvol:disk:uid", 2);
  kernel.AddDevice(3, "", 4);
  const std::vector<NbdDevice> devices = AttachedNbdDevices(sys);
  ASSERT_THAT(devices, SizeIs(2));
  EXPECT_EQ(devices[0].index, 3);
  EXPECT_EQ(devices[0].backend, "");
  EXPECT_EQ(devices[0].queues, 4);
  EXPECT_EQ(devices[1].index, 12);
  EXPECT_EQ(devices[1].backend, "ramvol:disk:uid");
  EXPECT_EQ(devices[1].size_bytes, 1 << 20);
  kernel.RemoveDevice(3);
  EXPECT_FALSE(FindNbdDevice(sys, 3).has_value());
}

}  // namespace
}  // namespace ramvol
