// The kernel's nbd driver, as far as attaching needs it: its messages, its
// sockets and its part of /sys.
#ifndef RAMVOL_TESTS_CLIENT_ATTACH_FAKE_KERNEL_H_
#define RAMVOL_TESTS_CLIENT_ATTACH_FAKE_KERNEL_H_

#include <netlink/msg.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/attach/nbd_netlink.h"

namespace ramvol {

inline constexpr int kFakeFamily = 29;

// A message's content, taken apart without the code under test.
struct ParsedMessage {
  int family = 0;
  int command = 0;
  int version = 0;
  // By their type; integers in the machine's order.
  std::map<int, std::string> attributes;
  std::vector<int> sockets;

  std::optional<uint64_t> Number(int attribute) const;
  std::string Text(int attribute) const;
};
ParsedMessage ParseMessage(const std::string& bytes);

// "NBD_CMD_..." with the index of a device, as the driver sends it.
std::string MakeEvent(uint8_t command, int index);

// Keeps devices in a folder that stands for /sys. Not thread-safe.
class FakeKernel {
 public:
  // `sys` must not exist.
  explicit FakeKernel(const std::string& sys);

  // A connection to it; as many as one likes.
  std::unique_ptr<NbdNetlink> Open();

  // A device as it is attached by another program.
  void AddDevice(int index, const std::string& backend, int queues);
  void RemoveDevice(int index);
  bool Has(int index) const { return devices_.count(index) > 0; }

  // One of the device's connections dies.
  void KillConnection(int index);
  int dead(int index) const { return devices_.at(index).dead; }

  // Called instead of waiting for events.
  std::function<void()> on_wait;
  // Answers instead of doing anything, when not 0: an errno value.
  int fail_with = 0;
  bool lose_events = false;
  // Another program has all devices open: they stay when they are disconnected.
  bool held_open = false;
  std::vector<ParsedMessage> calls;

 private:
  class Netlink;
  struct Device {
    int connections = 0;
    int dead = 0;
    std::string backend;
  };

  absl::StatusOr<std::vector<std::string>> Handle(const ParsedMessage& message);
  absl::StatusOr<std::vector<std::string>> Connect(
      const ParsedMessage& message);
  absl::Status Reconfigure(const ParsedMessage& message);

  const std::string sys_;
  std::map<int, Device> devices_;
  std::vector<std::string> events_;
};

}  // namespace ramvol

#endif  // RAMVOL_TESTS_CLIENT_ATTACH_FAKE_KERNEL_H_
