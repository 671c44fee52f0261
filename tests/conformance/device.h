// One interface over every way into a volume, for the conformance suite.
#ifndef RAMVOL_TESTS_CONFORMANCE_DEVICE_H_
#define RAMVOL_TESTS_CONFORMANCE_DEVICE_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"

namespace ramvol::testing {

struct DeviceExtent {
  int64_t offset = 0;
  int64_t length = 0;
  bool hole = false;

  friend bool operator==(const DeviceExtent&, const DeviceExtent&) = default;
};

// An open volume or snapshot. Calls wait for their answer; several threads may
// call.
class Device {
 public:
  virtual ~Device() = default;

  // What whoever opens it is told.
  virtual bool read_only() = 0;
  virtual absl::StatusOr<std::string> Read(int64_t offset, int64_t length) = 0;
  virtual absl::Status Write(int64_t offset, const std::string& data) = 0;
  virtual absl::Status Trim(int64_t offset, int64_t length) = 0;
  virtual absl::Status WriteZeroes(int64_t offset, int64_t length,
                                   bool no_hole) = 0;
  virtual absl::Status Flush() = 0;
  virtual absl::StatusOr<std::vector<DeviceExtent>> Extents(int64_t offset,
                                                            int64_t length) = 0;
};

// Of the servers and engines. Small, because a test fills it through each way.
constexpr uint64_t kMemoryLimitBytes = 64 << 20;

// A server, or an engine, and one way into it.
class DeviceFactory {
 public:
  virtual ~DeviceFactory() = default;

  // Makes a volume, when there is none of that name, and opens it; "@NAME" is a
  // snapshot. Each device has a connection of its own, where there are
  // connections.
  virtual std::unique_ptr<Device> Open(const std::string& name,
                                       int64_t size_bytes) = 0;
  // Whether errors have a message and a reason. Else they have a code alone.
  virtual bool errors_explain() const { return true; }
  // Longest range that Trim, WriteZeroes and Extents take at once.
  virtual int64_t max_range_bytes() const {
    return std::numeric_limits<int64_t>::max();
  }

  // Whether each step takes a connection of its own, so that tests of many
  // steps take fewer.
  virtual bool steps_are_dear() const { return false; }

  // Whether WriteZeroes can keep a range allocated. Else it makes holes.
  virtual bool keeps_zeroes() const { return true; }

  virtual absl::Status SetReadOnly(const std::string& name) = 0;
  // Of a volume, or "@NAME"; also while it is open.
  virtual absl::Status Delete(const std::string& name) = 0;
  virtual absl::Status Snapshot(const std::string& volume,
                                const std::string& name) = 0;
  virtual absl::Status Clone(const std::string& source,
                             const std::string& name) = 0;

  // Damages the frame with the byte at `offset`, once all that can be
  // compressed is. False when there is none.
  bool Damage(const std::string& name, int64_t offset) {
    engine().QuiesceForTest(/*merge=*/true);
    return (*engine().Find(name))->CorruptForTest(offset);
  }

 protected:
  virtual engine::Engine& engine() = 0;
};

// The ways.
std::unique_ptr<DeviceFactory> MakeCliFactory();
std::unique_ptr<DeviceFactory> MakeEngineFactory();
std::unique_ptr<DeviceFactory> MakeUnaryFactory();
std::unique_ptr<DeviceFactory> MakeIoFactory();
std::unique_ptr<DeviceFactory> MakeSdkFactory();
// NBD, which the server speaks itself.
std::unique_ptr<DeviceFactory> MakeNbdFactory();
// NBD, which a bridge speaks in front of the server.
std::unique_ptr<DeviceFactory> MakeNbdBridgeFactory();
// vhost-user, of which QEMU makes NBD. It tells neither holes nor why something
// was refused.
std::unique_ptr<DeviceFactory> MakeVhostFactory();

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_CONFORMANCE_DEVICE_H_
