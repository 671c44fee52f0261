#include "server/engine/metrics/metric_labels.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::IsOk;
using ::testing::HasSubstr;

std::string WhyNot(const std::string& keys) {
  return std::string(ParseMetricLabels(keys).status().message());
}

TEST(MetricLabelsTest, NamesAreThoseOfKubeStateMetrics) {
  const auto labels = ParseMetricLabels("team,app.kubernetes.io-name");
  ASSERT_THAT(labels, IsOk());
  ASSERT_EQ(labels->size(), 2);
  EXPECT_EQ((*labels)[0].key, "team");
  EXPECT_EQ((*labels)[0].name, "label_team");
  EXPECT_EQ((*labels)[1].key, "app.kubernetes.io-name");
  EXPECT_EQ((*labels)[1].name, "label_app_kubernetes_io_name");
}

TEST(MetricLabelsTest, NoKeysAreNoLabels) {
  const auto labels = ParseMetricLabels("");
  ASSERT_THAT(labels, IsOk());
  EXPECT_TRUE(labels->empty());
}

TEST(MetricLabelsTest, WhatCannotBeAKeyIsNamed) {
  for (const char* key : {"Team", "team env", "-team", "te\nam"}) {
    EXPECT_THAT(WhyNot(key), HasSubstr("is no key of a label")) << key;
  }
  EXPECT_THAT(WhyNot("Team"), HasSubstr("\"Team\""));
  EXPECT_THAT(WhyNot("team,,env"), HasSubstr("\"\" is no key of a label"));
  EXPECT_THAT(WhyNot("te\nam"), HasSubstr("te\\nam"));
}

TEST(MetricLabelsTest, KeysOfTheSameNameAreRefused) {
  EXPECT_THAT(WhyNot("app.name,app-name"),
              HasSubstr("\"app.name\" and \"app-name\" both become the label "
                        "label_app_name"));
  EXPECT_THAT(WhyNot("team,team"), HasSubstr("label_team"));
}

TEST(MetricLabelsTest, TheirNumberIsBounded) {
  EXPECT_THAT(ParseMetricLabels("a,b,c,d,e,f,g,h"), IsOk());
  EXPECT_THAT(WhyNot("a,b,c,d,e,f,g,h,i"), HasSubstr("more than 8 keys"));
}

}  // namespace
}  // namespace ramvol::metrics
