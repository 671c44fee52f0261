#include "csi/csi_metrics.h"

#include <stdlib.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/mocks/mock_client_connection.h"
#include "csi/calls.h"
#include "csi/device_attacher.h"
#include "csi/file_system.h"
#include "csi/leftovers.h"
#include "csi/mounter.h"
#include "csi/node_volumes.h"
#include "csi/two_way_attacher.h"
#include "csi/volume_watch.h"
#include "csi/volumes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "tests/csi/fake_node.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::NiceMock;
using ::testing::Pair;

class CsiMetricsTest : public ::testing::Test {
 protected:
  static void Attach(FakeAttacher& attacher, const std::string& name) {
    EXPECT_THAT(
        attacher.Attach({.name = name, .uid = "u"}, absl::InfiniteFuture()),
        IsOk());
  }
  // Of ramvol_csi_devices, by "WAY STATE".
  std::map<std::string, double> Devices(const DeviceAttacher& attacher) {
    NodeVolumes node(&volumes_, nullptr, &mounter_, &file_systems_);
    const Leftovers leftovers(&volumes_, nullptr, &mounter_, nullptr);
    const VolumeWatch watch(&volumes_, nullptr, nullptr);
    std::map<std::string, double> devices;
    for (const prometheus::MetricFamily& family :
         CsiMetrics(&calls_, &attacher, &node, &leftovers, &watch).Collect()) {
      if (family.name != "ramvol_csi_devices") continue;
      for (const prometheus::ClientMetric& metric : family.metric) {
        devices[absl::StrCat(metric.label[0].value, " ",
                             metric.label[1].value)] = metric.gauge.value;
      }
    }
    return devices;
  }

  const std::string folder_ = getenv("TEST_TMPDIR");
  FakeCommands commands_{folder_ + "/mountinfo"};
  const Mounter mounter_{&commands_, folder_ + "/mountinfo"};
  const FileSystems file_systems_{&commands_};
  const Volumes volumes_{
      Client(std::make_shared<NiceMock<MockClientConnection>>()),
      {.node_id = "node-1"}};
  Calls calls_;
};

TEST_F(CsiMetricsTest, ThePresentWayIsThereWithoutDevices) {
  EXPECT_THAT(Devices(FakeAttacher(folder_, "nbd")),
              ElementsAre(Pair("nbd alive", 0), Pair("nbd dead", 0)));
}

TEST_F(CsiMetricsTest, DevicesCountUnderTheWayThatTheyAreAttachedIn) {
  auto present = std::make_unique<FakeAttacher>(folder_, "nbd");
  Attach(*present, "a");
  auto earlier = std::make_unique<FakeAttacher>(folder_, "fuse");
  for (const char* name : {"b", "c", "d"}) Attach(*earlier, name);
  earlier->Kill("d");
  EXPECT_THAT(Devices(TwoWayAttacher(std::move(present), std::move(earlier))),
              ElementsAre(Pair("fuse alive", 2), Pair("fuse dead", 1),
                          Pair("nbd alive", 1), Pair("nbd dead", 0)));
}

TEST_F(CsiMetricsTest, WhatWasNeverMadeIsNoDevice) {
  FakeAttacher attacher(folder_, "fuse");
  attacher.BeginToAttach({.name = "a", .uid = "u"}, /*alive=*/false);
  attacher.BeginToAttach({.name = "b", .uid = "u"}, /*alive=*/true);
  EXPECT_THAT(Devices(attacher),
              ElementsAre(Pair("fuse alive", 0), Pair("fuse dead", 0)));
}

}  // namespace
}  // namespace ramvol::csi_driver
