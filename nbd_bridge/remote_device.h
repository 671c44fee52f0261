// Volumes of a remote ramvold, through the SDK.
#ifndef RAMVOL_NBD_BRIDGE_REMOTE_DEVICE_H_
#define RAMVOL_NBD_BRIDGE_REMOTE_DEVICE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/block/block_device.h"
#include "base/block/exports.h"
#include "base/event_log.h"
#include "client/callback_scope.h"
#include "client/client.h"
#include "client/remote_volume.h"

namespace ramvol::nbd {

// Logs what NBD cannot report, as LogEvent does. Called on any thread.
using LogFunction = std::function<void(Event, const LogFields&)>;

// One open volume. Calls return soon while those under way fit the SDK's
// max_inflight_bytes. Threads of the SDK call Done.
//
// When the server is lost, calls wait for up to the SDK's reconnect_timeout and
// then fail with UNAVAILABLE; later ones try again. If the server returns
// without the volume, or with another one of that name, all later calls fail
// with ABORTED for good: the data is gone, and a new, empty volume must not
// silently take its place. NOT_FOUND means that the volume was deleted while
// the server was reachable.
//
// Logs a failure only when the previous call succeeded or failed with another
// code.
class RemoteDevice final : public block::BlockDevice {
 public:
  // `client` is the address of the NBD client, for the log.
  RemoteDevice(std::string name, RemoteVolume volume, LogFunction log,
               std::string client = "");
  ~RemoteDevice() override;

  uint64_t size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return read_only_; }
  bool synchronous() const override { return false; }
  bool MoreToCome() const override { return CallbackScope::left() > 0; }

  void Together(absl::FunctionRef<void()> start) override {
    volume_.Together(start);
  }

  void Read(uint64_t offset, absl::Span<char> out,
            block::Completion* done) override;
  void Write(uint64_t offset, absl::Span<const char> data,
             block::Completion* done) override;
  void Trim(uint64_t offset, uint64_t length, block::Completion* done) override;
  void WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                   block::Completion* done) override;
  void Flush(block::Completion* done) override;
  void GetExtents(uint64_t offset, uint64_t length, size_t max_extents,
                  std::vector<block::Extent>* extents,
                  block::Completion* done) override;
  void GetChanges(const std::string& snapshot_uid, uint64_t offset,
                  uint64_t length, size_t max_extents,
                  std::vector<block::Extent>* extents,
                  block::Completion* done) override;

 private:
  RemoteVolume::Done Tell(block::Completion* done);
  // The status to tell `done`. Logs it if it differs from the last one.
  absl::Status Judge(absl::Status status);

  const std::string name_;
  const std::string client_;
  const LogFunction log_;
  const RemoteVolume volume_;
  std::atomic<absl::StatusCode> last_code_{absl::StatusCode::kOk};
  // As they were when the device was opened.
  const uint64_t size_bytes_;
  const bool read_only_;
};

// The volumes of the client's server. Every call is a round trip. While the
// server is lost, a call waits for up to the SDK's reconnect_timeout, then
// fails with UNAVAILABLE.
class RemoteExports final : public block::Exports {
 public:
  explicit RemoteExports(Client client, LogFunction log = &LogEvent)
      : client_(std::move(client)), log_(std::move(log)) {}

  absl::StatusOr<block::ExportPage> List(const std::string& from) override;
  absl::StatusOr<block::ExportInfo> Find(std::string_view name) override;
  absl::StatusOr<std::vector<std::string>> ListSnapshots(std::string_view name,
                                                         size_t max) override;
  // Each device has its own streams over the client's connections.
  absl::StatusOr<std::unique_ptr<block::BlockDevice>> Open(
      std::string_view name, std::string_view client) override;

 private:
  // The page of snapshots that `token` stands for.
  absl::StatusOr<block::ExportPage> ListKept(const std::string& token);
  // The status that a failed call returns. Logs it unless only the name was
  // bad.
  absl::Status Judge(std::string_view what, absl::Status status) const;

  const Client client_;
  const LogFunction log_;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REMOTE_DEVICE_H_
