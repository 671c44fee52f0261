// The mocks as users will use them.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/client.h"
#include "client/extent.h"
#include "client/mocks/mock_client_connection.h"
#include "client/mocks/mock_volume_connection.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {
namespace {

using ::testing::_;
using ::testing::NiceMock;
using ::testing::Property;
using ::testing::Return;
using ::testing::SizeIs;

TEST(MocksTest, StandInForAServer) {
  auto volume_mock = std::make_shared<MockVolumeConnection>();
  EXPECT_CALL(*volume_mock, ReadAsync(4096, SizeIs(7), _))
      .WillOnce(ReadGives("hello"));
  EXPECT_CALL(*volume_mock, WriteAsync(0, std::string_view("x"), _))
      .WillOnce(OperationGives(absl::ResourceExhaustedError("full")));
  EXPECT_CALL(*volume_mock, ExtentsAsync(0, 10, 0, _))
      .WillOnce(ExtentsGive(std::vector<Extent>{{0, 10, true}}));
  EXPECT_CALL(*volume_mock, size_bytes).WillOnce(Return(123));
  auto client_mock = std::make_shared<MockClientConnection>();
  EXPECT_CALL(*client_mock, Open("scratch", _)).WillOnce(Return(volume_mock));
  const Client client(client_mock);

  absl::StatusOr<RemoteVolume> volume = client.Open("scratch");
  ASSERT_TRUE(volume.ok());
  EXPECT_EQ(*volume->Read(4096, 7), std::string("hello\0\0", 7));
  EXPECT_TRUE(absl::IsResourceExhausted(volume->Write(0, "x")));
  EXPECT_THAT(*volume->Extents(0, 10), SizeIs(1));
  EXPECT_EQ(volume->size_bytes(), 123);
}

TEST(MocksTest, FailWhatNobodyExpects) {
  auto volume_mock = std::make_shared<NiceMock<MockVolumeConnection>>();
  const RemoteVolume volume(volume_mock);
  EXPECT_TRUE(absl::IsUnimplemented(volume.Flush()));
  EXPECT_TRUE(absl::IsUnimplemented(volume.Trim(0, 1)));
  EXPECT_TRUE(absl::IsUnimplemented(volume.WriteZeroes(0, 1)));
  EXPECT_TRUE(absl::IsUnimplemented(volume.Read(0, 1).status()));
  EXPECT_TRUE(absl::IsUnimplemented(volume.Extents(0, 1).status()));
  auto client_mock = std::make_shared<NiceMock<MockClientConnection>>();
  const Client client(client_mock);
  EXPECT_TRUE(absl::IsUnimplemented(client.Open("x").status()));
  EXPECT_TRUE(absl::IsUnimplemented(client.GetServerInfo().status()));
  EXPECT_TRUE(absl::IsUnimplemented(client.CheckHealth()));
}

TEST(MocksTest, ListVolumesJoinsPagesAndDetectsACircle) {
  v1::ListVolumesResponse page1;
  page1.add_volumes()->set_name("a");
  page1.set_next_page_token("t");
  v1::ListVolumesResponse page2;
  page2.add_volumes()->set_name("b");
  auto mock = std::make_shared<MockClientConnection>();
  using Request = v1::ListVolumesRequest;
  EXPECT_CALL(*mock, ListVolumes(Property(&Request::page_token, "")))
      .WillRepeatedly(Return(page1));
  EXPECT_CALL(*mock, ListVolumes(Property(&Request::page_token, "t")))
      .WillOnce(Return(page2))
      .WillOnce(Return(page1));
  const Client client(mock);
  EXPECT_THAT(*client.ListVolumes(), SizeIs(2));
  EXPECT_TRUE(absl::IsInternal(client.ListVolumes().status()));
}

}  // namespace
}  // namespace ramvol
