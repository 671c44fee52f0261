#include "client/attach/kernel_nbd.h"

#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <netlink/msg.h>

#include <cerrno>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/attach/fake_kernel.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

std::string Bytes(nl_msg* message) {
  const nlmsghdr* head = nlmsg_hdr(message);
  return std::string(reinterpret_cast<const char*>(head), head->nlmsg_len);
}

ParsedMessage Made(uint8_t command, const NbdDeviceSettings& settings) {
  absl::StatusOr<NetlinkMessage> message =
      MakeNbdMessage(kFakeFamily, command, settings);
  EXPECT_THAT(message, IsOk());
  return message.ok() ? ParseMessage(Bytes(message->get())) : ParsedMessage();
}

TEST(NbdMessageTest, HoldsEverySetting) {
  NbdDeviceSettings settings;
  settings.index = 3;
  settings.size_bytes = (uint64_t{1} << 63) - 1;
  settings.block_bytes = 4096;
  settings.request_timeout = absl::Milliseconds(29001);
  settings.dead_connection_timeout = absl::Minutes(2);
  settings.server_flags = 0x16d;
  settings.backend = "ramvol:disk:uid-1";
  settings.sockets = {7, 8, 1023};
  const ParsedMessage message = Made(NBD_CMD_CONNECT, settings);
  EXPECT_EQ(message.family, kFakeFamily);
  EXPECT_EQ(message.command, NBD_CMD_CONNECT);
  EXPECT_EQ(message.version, NBD_GENL_VERSION);
  EXPECT_THAT(message.Number(NBD_ATTR_INDEX), Optional(3));
  EXPECT_THAT(message.Number(NBD_ATTR_SIZE_BYTES),
              Optional((uint64_t{1} << 63) - 1));
  EXPECT_THAT(message.Number(NBD_ATTR_BLOCK_SIZE_BYTES), Optional(4096));
  EXPECT_THAT(message.Number(NBD_ATTR_TIMEOUT), Optional(30));
  EXPECT_THAT(message.Number(NBD_ATTR_DEAD_CONN_TIMEOUT), Optional(120));
  EXPECT_THAT(message.Number(NBD_ATTR_SERVER_FLAGS), Optional(0x16d));
  EXPECT_EQ(message.Text(NBD_ATTR_BACKEND_IDENTIFIER), "ramvol:disk:uid-1");
  EXPECT_THAT(message.sockets, ElementsAre(7, 8, 1023));
}

TEST(NbdMessageTest, LeavesOutWhatIsNotSet) {
  const ParsedMessage message = Made(NBD_CMD_RECONFIGURE, {});
  EXPECT_EQ(message.command, NBD_CMD_RECONFIGURE);
  EXPECT_THAT(message.attributes, IsEmpty());
}

// The driver's policy wants these very types: 32 bits for the index and the
// descriptors, 64 for numbers.
TEST(NbdMessageTest, AsBytes) {
  NbdDeviceSettings settings;
  settings.index = 2;
  settings.block_bytes = 512;
  settings.sockets = {5};
  absl::StatusOr<NetlinkMessage> message =
      MakeNbdMessage(kFakeFamily, NBD_CMD_CONNECT, settings);
  ASSERT_THAT(message, IsOk());
  const std::string wanted(
      "\x01\x01\x00\x00"                                  // Command, version.
      "\x08\x00\x01\x00\x02\x00\x00\x00"                  // Index.
      "\x0c\x00\x03\x00\x00\x02\x00\x00\x00\x00\x00\x00"  // Block size.
      "\x10\x00\x07\x00\x0c\x00\x01\x00\x08\x00\x01\x00\x05\x00\x00\x00",
      40);
  std::string bytes = Bytes(message->get()).substr(sizeof(nlmsghdr));
  // Newer versions of the library set NLA_F_NESTED, which the driver ignores.
  bytes[27] = static_cast<char>(bytes[27] & 0x7f);
  bytes[31] = static_cast<char>(bytes[31] & 0x7f);
  EXPECT_EQ(bytes, wanted);
}

TEST(NbdMessageTest, TakesTheMostConnections) {
  NbdDeviceSettings settings;
  settings.sockets.assign(64, 9);
  EXPECT_THAT(Made(NBD_CMD_CONNECT, settings).sockets, SizeIs(64));
}

TEST(NbdMessageTest, TooMuchIsAnError) {
  NbdDeviceSettings settings;
  settings.sockets.assign(10'000, 9);
  EXPECT_EQ(
      MakeNbdMessage(kFakeFamily, NBD_CMD_CONNECT, settings).status().code(),
      absl::StatusCode::kResourceExhausted);
}

class KernelNbdTest : public ::testing::Test {
 protected:
  FakeKernel kernel_{::testing::TempDir() + "/kernel_nbd_test"};
  std::unique_ptr<NbdNetlink> netlink_ = kernel_.Open();
  KernelNbd nbd_{netlink_.get()};
};

TEST_F(KernelNbdTest, ConnectLearnsTheDevice) {
  kernel_.AddDevice(0, "", 1);
  NbdDeviceSettings settings;
  settings.sockets = {1};
  absl::StatusOr<int> index = nbd_.Connect(settings);
  ASSERT_THAT(index, IsOk());
  EXPECT_EQ(*index, 1);
  EXPECT_THAT(nbd_.Disconnect(1), IsOk());
  EXPECT_EQ(kernel_.calls.back().command, NBD_CMD_DISCONNECT);
  EXPECT_THAT(kernel_.calls.back().Number(NBD_ATTR_INDEX), Optional(1));
}

TEST_F(KernelNbdTest, RefusalsKeepTheirReason) {
  kernel_.fail_with = EBUSY;
  EXPECT_EQ(GetReason(nbd_.Connect({}).status()), "EBUSY");
  kernel_.fail_with = EPERM;
  EXPECT_THAT(nbd_.Disconnect(0), StatusIs(absl::StatusCode::kUnknown,
                                           HasSubstr("run it as root")));
}

TEST_F(KernelNbdTest, CountsDeadConnectionsOfItsDeviceOnly) {
  kernel_.AddDevice(1, "", 4);
  kernel_.AddDevice(2, "", 4);
  ASSERT_THAT(nbd_.Listen(), IsOk());
  kernel_.KillConnection(2);
  kernel_.KillConnection(1);
  kernel_.KillConnection(2);
  EXPECT_EQ(*nbd_.CountDead(2, absl::Seconds(1)), 2);
  EXPECT_EQ(*nbd_.CountDead(2, absl::Seconds(1)), 0);
  kernel_.lose_events = true;
  EXPECT_EQ(*nbd_.CountDead(2, absl::Seconds(1)), -1);
}

}  // namespace
}  // namespace ramvol
