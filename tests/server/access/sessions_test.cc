#include "server/access/sessions.h"

#include "gtest/gtest.h"

namespace ramvol::access {
namespace {

TEST(SessionsTest, EndsThoseThatMayNotGoOn) {
  Sessions sessions;
  bool allowed = true;
  int ended = 0;
  int others_ended = 0;
  const auto entry = sessions.Add({[&] { return allowed; }, [&] { ++ended; }});
  const auto other =
      sessions.Add({[] { return true; }, [&] { ++others_ended; }});
  sessions.Review();
  EXPECT_EQ(ended, 0);
  allowed = false;
  sessions.Review();
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(others_ended, 0);
}

TEST(SessionsTest, ForgetsThoseThatAreGone) {
  Sessions sessions;
  int ended = 0;
  auto entry = sessions.Add({[] { return false; }, [&] { ++ended; }});
  EXPECT_EQ(sessions.size(), 1u);
  entry.reset();
  EXPECT_EQ(sessions.size(), 0u);
  sessions.Review();
  EXPECT_EQ(ended, 0);
}

TEST(SessionsTest, EntriesMayOutliveThem) {
  Sessions::Entry entry;
  {
    Sessions sessions;
    entry = sessions.Add({[] { return true; }, [] {}});
  }
  entry.reset();
}

// An end that lets go of its own entry, as that of a stream may.
TEST(SessionsTest, EndMayDropTheEntry) {
  Sessions sessions;
  Sessions::Entry entry;
  entry = sessions.Add({[] { return false; }, [&] { entry.reset(); }});
  sessions.Review();
  EXPECT_EQ(sessions.size(), 0u);
}

}  // namespace
}  // namespace ramvol::access
