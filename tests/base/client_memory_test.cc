#include "base/client_memory.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

constexpr size_t kMib = size_t{1} << 20;
constexpr size_t kKib = size_t{1} << 10;

class Client final : public ClientMemory::Client {
 public:
  explicit Client(ClientMemory* memory) : holder(memory, this) {}

  std::function<void()> SendAway() override {
    return [this] {
      sent_away = true;
      holder.SetHeld(0);
    };
  }
  // Holds `bytes` more, if they fit.
  bool Take(size_t bytes) {
    if (!holder.Reserve(bytes)) return false;
    holder.SetHeld(holder.held_bytes() + bytes);
    return true;
  }
  // Takes what it can; how much.
  size_t Grab(size_t step) {
    while (Take(step)) {
    }
    return holder.held_bytes();
  }
  // Takes `bytes` and waits for its client from then on.
  void Hog(size_t bytes) {
    ASSERT_TRUE(Take(bytes));
    holder.WaitsForClient(true);
  }

  ClientMemory::Holder holder;
  bool sent_away = false;
};

class ClientMemoryTest : public ::testing::Test {
 protected:
  static constexpr size_t kLimit = 96 * kMib;
  static constexpr size_t kReserve = kLimit / 8;

  static ClientMemory::Options TestOptions() {
    ClientMemory::Options options;
    options.limit_bytes = kLimit;
    options.sweep_interval = absl::InfiniteDuration();
    return options;
  }
  std::unique_ptr<Client> NewClient() {
    return std::make_unique<Client>(&memory_);
  }
  std::unique_ptr<Client> NewOpenClient() {
    auto client = NewClient();
    client->holder.Open();
    return client;
  }
  size_t used() { return memory_.GetStats().used_bytes; }
  // `after` since the first sweep.
  void SweepAt(absl::Duration after) {
    memory_.Sweep(absl::UnixEpoch() + after);
  }

  ClientMemory memory_{TestOptions()};
};

TEST_F(ClientMemoryTest, AConnectionTakesItsBaseAndSmallRequestsNoMore) {
  auto client = NewOpenClient();
  EXPECT_EQ(used(), ClientMemory::kBaseBytes);
  EXPECT_TRUE(client->Take(ClientMemory::kAllowanceBytes));
  EXPECT_EQ(used(), ClientMemory::kBaseBytes);
  EXPECT_TRUE(client->Take(1));
  EXPECT_GT(used(), ClientMemory::kBaseBytes);
  client->holder.SetHeld(0);
  EXPECT_EQ(used(), ClientMemory::kBaseBytes);
  client.reset();
  EXPECT_EQ(used(), 0);
}

TEST_F(ClientMemoryTest, ConnectionsTakeAtMostHalf) {
  std::vector<std::unique_ptr<Client>> clients;
  while (memory_.HasRoomToOpen()) clients.push_back(NewOpenClient());
  EXPECT_EQ(clients.size(), kLimit / 2 / ClientMemory::kBaseBytes);
  // The largest request still fits.
  EXPECT_TRUE(clients[0]->Take(33 * kMib));
  clients.pop_back();
  EXPECT_TRUE(memory_.HasRoomToOpen());
}

// Else a client that sends beginnings of messages would lock others out.
TEST_F(ClientMemoryTest, WhatComesUnaskedLocksNobodyOut) {
  auto large = NewOpenClient();
  ASSERT_TRUE(large->Take(40 * kMib));
  auto windows = NewClient();
  windows->holder.Open({.bytes = 0, .allowance_bytes = 0, .unasked = true});
  windows->holder.SetHeld(50 * kMib);
  EXPECT_GE(used(), 90 * kMib);
  EXPECT_TRUE(memory_.HasRoomToOpen());
  EXPECT_TRUE(NewClient()->Take(64 * kKib));
  // But it leaves less for others.
  auto other = NewOpenClient();
  EXPECT_FALSE(other->Take(kMib));
  windows->holder.SetHeld(0);
  EXPECT_TRUE(other->Take(kMib));
}

TEST_F(ClientMemoryTest, OneThatTakesWhatItCanLeavesAsMuchForAnother) {
  auto greedy = NewOpenClient();
  const size_t first = greedy->Grab(kMib);
  EXPECT_NEAR(first, (kLimit - kReserve) / 3, 2 * kMib);
  EXPECT_TRUE(NewOpenClient()->Take(first));
}

TEST_F(ClientMemoryTest, ManyThatTakeWhatTheyCanStayBelowTheLimit) {
  std::vector<std::unique_ptr<Client>> clients;
  while (memory_.HasRoomToOpen()) {
    clients.push_back(NewOpenClient());
    clients.back()->Grab(256 * kKib);
  }
  EXPECT_GE(clients.size(), kReserve / ClientMemory::kBaseBytes);
  EXPECT_LE(used(), kLimit);
}

TEST_F(ClientMemoryTest, SmallCallsHaveAReserve) {
  auto hog = NewOpenClient();
  ASSERT_TRUE(hog->Take(84 * kMib - ClientMemory::kBaseBytes - 64 * kKib));
  auto large = NewOpenClient();
  large->holder.Ask(kMib, [] {});
  std::vector<std::unique_ptr<Client>> calls;
  while (calls.emplace_back(NewClient())->Take(64 * kKib)) {
  }
  EXPECT_NEAR(calls.size(), kReserve / (64 * kKib), 4);
  EXPECT_LE(used(), kLimit);
  // The next one waits for others of its kind.
  absl::Notification told;
  calls.back()->holder.Ask(64 * kKib, [&] { told.Notify(); });
  calls.front().reset();
  told.WaitForNotification();
}

TEST_F(ClientMemoryTest, WhoCannotConnectCountsAsWaiting) {
  auto hog = NewOpenClient();
  hog->Hog(80 * kMib);
  std::vector<std::unique_ptr<Client>> idle;
  while (memory_.HasRoomToOpen()) idle.push_back(NewOpenClient());
  SweepAt(absl::ZeroDuration());
  SweepAt(absl::Seconds(31));
  EXPECT_FALSE(hog->sent_away);
  EXPECT_FALSE(memory_.HasRoomToOpen());
  SweepAt(absl::Seconds(32));
  EXPECT_TRUE(hog->sent_away);
  EXPECT_TRUE(memory_.HasRoomToOpen());
}

TEST_F(ClientMemoryTest, WhatDoesNotFitWaitsItsTurn) {
  auto inside = NewOpenClient();
  ASSERT_TRUE(inside->Take(70 * kMib));
  auto large = NewOpenClient();
  auto medium = NewOpenClient();
  ASSERT_FALSE(large->Take(20 * kMib));
  absl::Notification large_told;
  large->holder.Ask(20 * kMib, [&] { large_told.Notify(); });
  // It would fit, and does not overtake. What the base covers does.
  EXPECT_FALSE(medium->Take(kMib));
  EXPECT_TRUE(medium->Take(kKib));
  absl::Notification medium_told;
  medium->holder.Ask(kMib, [&] { medium_told.Notify(); });
  EXPECT_EQ(memory_.GetStats().waiting, 2);
  inside->holder.SetHeld(0);
  large_told.WaitForNotification();
  medium_told.WaitForNotification();
  EXPECT_TRUE(large->Take(20 * kMib));
  EXPECT_TRUE(medium->Take(kMib));
  EXPECT_EQ(memory_.GetStats().waiting, 0);
  large.reset();
  medium.reset();
  inside.reset();
  EXPECT_EQ(used(), 0);
}

TEST_F(ClientMemoryTest, WhoWantsMoreThanItsShareHoldsUpNobody) {
  auto greedy = NewOpenClient();
  greedy->Grab(kMib);
  absl::Notification told;
  greedy->holder.Ask(8 * kMib, [&] { told.Notify(); });
  EXPECT_TRUE(NewOpenClient()->Take(16 * kMib));
  EXPECT_FALSE(told.HasBeenNotified());
  greedy->holder.SetHeld(0);
  told.WaitForNotification();
  EXPECT_TRUE(greedy->Take(8 * kMib));
}

TEST_F(ClientMemoryTest, WhatIsLargerThanTheLimitGoesAlone) {
  auto other = NewOpenClient();
  ASSERT_TRUE(other->Take(kMib));
  auto client = NewOpenClient();
  EXPECT_FALSE(client->Take(2 * kLimit));
  other->holder.SetHeld(0);
  EXPECT_TRUE(client->Take(2 * kLimit));
  EXPECT_FALSE(other->Take(kMib));
}

TEST_F(ClientMemoryTest, WhoWithdrawsOrGoesGivesBackWhatItWasGranted) {
  auto inside = NewOpenClient();
  ASSERT_TRUE(inside->Take(80 * kMib));
  auto first = NewOpenClient();
  auto second = NewOpenClient();
  first->holder.Ask(20 * kMib, [] {});
  second->holder.Ask(20 * kMib, [] {});
  auto third = NewOpenClient();
  third->holder.Ask(20 * kMib, [] {});
  third->holder.Withdraw();
  inside->holder.SetHeld(0);
  first->holder.Withdraw();
  second.reset();
  EXPECT_EQ(used(), 3 * ClientMemory::kBaseBytes);
}

TEST_F(ClientMemoryTest, SpareBytesAreTheFirstToBeMissing) {
  auto client = NewOpenClient();
  ASSERT_TRUE(client->holder.TakeSpare(kMib));
  auto other = NewOpenClient();
  ASSERT_TRUE(other->Take(40 * kMib));
  auto third = NewOpenClient();
  EXPECT_FALSE(third->holder.TakeSpare(kMib));
  third.reset();
  // Who holds much gives that back the sooner.
  EXPECT_TRUE(other->holder.TakeSpare(kMib));
  other->holder.GiveSpare();
  // They take nothing from the holder's share.
  EXPECT_TRUE(client->Take(32 * kMib));
  client->holder.GiveSpare();
  client->holder.SetHeld(0);
  other.reset();
  EXPECT_EQ(used(), ClientMemory::kBaseBytes);
}

TEST_F(ClientMemoryTest, SpareBytesGrowAndShrink) {
  auto client = NewOpenClient();
  ASSERT_TRUE(client->holder.TakeSpare(kMib));
  ASSERT_TRUE(client->holder.TakeSpare(3 * kMib));
  ASSERT_TRUE(client->holder.TakeSpare(2 * kMib));
  EXPECT_EQ(used(), ClientMemory::kBaseBytes + 3 * kMib);
  EXPECT_FALSE(client->holder.TakeSpare(kLimit));
  client->holder.GiveSpare(kMib);
  EXPECT_EQ(used(), ClientMemory::kBaseBytes + kMib);
  client->holder.GiveSpare();
  EXPECT_EQ(used(), ClientMemory::kBaseBytes);
}

TEST_F(ClientMemoryTest, WhoseMachineHoldsNothingGoesFirst) {
  auto first = NewClient(), second = NewClient(), third = NewClient();
  first->holder.SetPeer("many");
  second->holder.SetPeer("many");
  third->holder.SetPeer("few");
  ASSERT_TRUE(first->Take(80 * kMib));
  absl::Notification many, few;
  second->holder.Ask(20 * kMib, [&] { many.Notify(); });
  third->holder.Ask(20 * kMib, [&] { few.Notify(); });
  first->holder.SetHeld(60 * kMib);
  few.WaitForNotification();
  EXPECT_FALSE(many.HasBeenNotified());
  first->holder.SetHeld(0);
  many.WaitForNotification();
}

TEST_F(ClientMemoryTest, WhatWasGrantedStaysUntilItIsReserved) {
  auto hog = NewClient(), waiting = NewClient();
  ASSERT_TRUE(hog->Take(80 * kMib));
  absl::Notification granted;
  waiting->holder.Ask(20 * kMib, [&] { granted.Notify(); });
  hog->holder.SetHeld(0);
  granted.WaitForNotification();
  waiting->holder.SetHeld(0);
  EXPECT_EQ(used(), 20 * kMib);
  EXPECT_TRUE(waiting->holder.asking());
  ASSERT_TRUE(waiting->holder.Reserve(20 * kMib));
  EXPECT_FALSE(waiting->holder.asking());
  waiting->holder.SetHeld(20 * kMib);
  EXPECT_EQ(used(), 20 * kMib);
}

TEST_F(ClientMemoryTest, WhoTakesNothingIsSentAwayWhenOthersWait) {
  auto hog = NewOpenClient();
  hog->Hog(40 * kMib);
  auto busy = NewOpenClient();  // The server's turn.
  ASSERT_TRUE(busy->Take(30 * kMib));
  SweepAt(absl::ZeroDuration());
  SweepAt(absl::Hours(1));
  EXPECT_FALSE(hog->sent_away) << "nobody waits";
  auto honest = NewOpenClient();
  ASSERT_FALSE(honest->Take(16 * kMib));
  absl::Notification told;
  honest->holder.Ask(16 * kMib, [&] { told.Notify(); });
  SweepAt(absl::Hours(2));
  SweepAt(absl::Hours(2) + absl::Seconds(20));
  EXPECT_FALSE(hog->sent_away);
  SweepAt(absl::Hours(2) + absl::Seconds(21));
  EXPECT_TRUE(hog->sent_away);
  EXPECT_FALSE(busy->sent_away);
  EXPECT_EQ(memory_.GetStats().sent_away, 1);
  told.WaitForNotification();
  EXPECT_TRUE(honest->Take(16 * kMib));
}

TEST_F(ClientMemoryTest, WhoTakesTooLittleIsSentAwayWhoTakesEnoughIsNot) {
  auto slow = NewOpenClient();
  slow->Hog(40 * kMib);
  auto steady = NewOpenClient();
  steady->Hog(20 * kMib);
  auto honest = NewOpenClient();
  honest->holder.Ask(30 * kMib, [] {});
  for (int second = 0; second < 60; ++second) {
    SweepAt(absl::Seconds(second));
    if (slow->sent_away) {
      EXPECT_GT(second, 20);
      break;
    }
    // One of them a little now and then, the other all that it held, again and
    // again.
    if (second % 9 == 0) slow->holder.SetHeld(slow->holder.held_bytes() - 1);
    steady->holder.SetHeld(steady->holder.held_bytes() - 2 * kMib);
    (void)steady->holder.Reserve(2 * kMib);
    steady->holder.SetHeld(steady->holder.held_bytes() + 2 * kMib);
  }
  EXPECT_TRUE(slow->sent_away);
  EXPECT_FALSE(steady->sent_away);
}

TEST_F(ClientMemoryTest, WhoWaitsForItselfIsNotSentAway) {
  auto greedy = NewOpenClient();
  greedy->Grab(kMib);
  greedy->holder.WaitsForClient(true);
  greedy->holder.Ask(16 * kMib, [] {});
  SweepAt(absl::ZeroDuration());
  SweepAt(absl::Hours(1));
  EXPECT_FALSE(greedy->sent_away);
}

// Owns the memory that it is charged to, as a call does whose answer may be on
// its way still when the server has ended.
struct Owner {
  explicit Owner(absl::Notification* gone) : gone(*gone) {}
  ~Owner() {
    client.reset();
    memory.reset();
    gone.Notify();
  }

  absl::Notification& gone;
  std::shared_ptr<ClientMemory> memory =
      std::make_shared<ClientMemory>(ClientMemory::Options());
  std::unique_ptr<Client> client = std::make_unique<Client>(memory.get());
};

TEST(ClientMemoryEndTest, ItsOwnThreadMayDropIt) {
  absl::Notification gone, dropped;
  auto owner = std::make_shared<Owner>(&gone);
  const std::weak_ptr<ClientMemory> memory = owner->memory;
  owner->client->holder.Ask(
      kMib, [&dropped, owner] { dropped.WaitForNotification(); });
  owner.reset();
  dropped.Notify();
  gone.WaitForNotification();
  EXPECT_TRUE(memory.expired());
}

TEST_F(ClientMemoryTest, ManyThreadsLeaveNothingBehind) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this, i] {
      for (int round = 0; round < 200; ++round) {
        auto client = NewOpenClient();
        const size_t bytes = static_cast<size_t>(1 + (round * 7 + i) % 30);
        absl::Notification told;
        if (!client->holder.Reserve(bytes * kMib)) {
          client->holder.Ask(bytes * kMib, [&] { told.Notify(); });
          told.WaitForNotification();
          EXPECT_TRUE(client->holder.Reserve(bytes * kMib));
        }
        client->holder.SetHeld(bytes * kMib);
        std::this_thread::yield();
        client->holder.SetHeld(0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(memory_.GetStats().waiting, 0);
}

}  // namespace
}  // namespace ramvol
