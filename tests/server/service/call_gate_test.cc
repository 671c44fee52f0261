#include "server/service/call_gate.h"

#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

TEST(CallGateTest, ClosedItLetsNobodyInAndThoseInsideMayLeave) {
  CallGate gate;
  ASSERT_TRUE(gate.Enter());
  ASSERT_TRUE(gate.Enter());
  gate.Close();
  EXPECT_FALSE(gate.Enter());
  gate.Leave();
  EXPECT_FALSE(gate.WaitUntilEmpty(absl::ZeroDuration()));
  gate.Leave();
  EXPECT_TRUE(gate.WaitUntilEmpty(absl::ZeroDuration()));
}

TEST(CallGateTest, TheLastOneWakesWhoWaits) {
  CallGate gate;
  ASSERT_TRUE(gate.Enter());
  gate.Close();
  std::thread leaver([&] { gate.Leave(); });
  EXPECT_TRUE(gate.WaitUntilEmpty(absl::Minutes(1)));
  leaver.join();
}

TEST(CallGateTest, LateCallsAreToldToConnectAgain) {
  EXPECT_THAT(ShuttingDownError(),
              testing::HasReason(absl::StatusCode::kUnavailable,
                                 reason::kShuttingDown));
}

}  // namespace
}  // namespace ramvol::service
