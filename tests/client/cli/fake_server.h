// A ramvold in memory, behind the SDK's interfaces, that can be made to fail.
#ifndef RAMVOL_TESTS_CLIENT_CLI_FAKE_SERVER_H_
#define RAMVOL_TESTS_CLIENT_CLI_FAKE_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "client/client_connection.h"
#include "client/extent.h"
#include "client/volume_connection.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

// One volume: blocks of 4 KiB that are not holes. Operations complete on a
// thread of their own, in an order that is not theirs. Thread-safe.
class FakeVolume : public VolumeConnection {
 public:
  explicit FakeVolume(int64_t size_bytes);
  ~FakeVolume() override;

  void ReadAsync(int64_t offset, absl::Span<char> out, Done done) override;
  void WriteAsync(int64_t offset, std::string_view data, Done done) override;
  void TrimAsync(int64_t offset, int64_t length, Done done) override;
  void WriteZeroesAsync(int64_t offset, int64_t length, bool no_hole,
                        Done done) override;
  void FlushAsync(Done done) override;
  void ExtentsAsync(int64_t offset, int64_t length, int32_t max_extents,
                    ExtentsDone done) override;
  int64_t size_bytes() const override;
  bool read_only() const override { return false; }

  // Test side.
  void Resize(int64_t size_bytes);
  std::string Content(int64_t offset, int64_t length);
  void Fill(int64_t offset, std::string_view data);
  int64_t allocated_bytes();
  // Ranges in the order in which they were asked for.
  std::vector<Extent> writes();
  std::vector<Extent> trims();
  std::vector<Extent> reads();
  int extents_calls();
  // The operation after the next `count` reads, writes and trims fails so, and
  // all after it.
  void FailAfter(int count, absl::Status status);
  // Called before every operation, without locks.
  void OnOperation(std::function<void()> hook);

 private:
  absl::Status Check(int64_t offset, int64_t length);
  void Later(std::function<void()> completion);
  void Loop();
  void StoreLocked(int64_t offset, std::string_view data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string LoadLocked(int64_t offset, int64_t length)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  CondVar changed_;
  int64_t size_bytes_ ABSL_GUARDED_BY(mu_);
  std::map<int64_t, std::string> blocks_ ABSL_GUARDED_BY(mu_);  // By index.
  std::vector<Extent> writes_ ABSL_GUARDED_BY(mu_);
  std::vector<Extent> trims_ ABSL_GUARDED_BY(mu_);
  std::vector<Extent> reads_ ABSL_GUARDED_BY(mu_);
  int extents_calls_ ABSL_GUARDED_BY(mu_) = 0;
  int operations_left_ ABSL_GUARDED_BY(mu_) = -1;  // -1: never fail.
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::function<void()> hook_ ABSL_GUARDED_BY(mu_);
  std::vector<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

// The server. Not thread-safe but for StatVolume.
class FakeServer : public ClientConnection {
 public:
  absl::StatusOr<v1::Volume> CreateVolume(
      const v1::CreateVolumeRequest& request) override;
  absl::StatusOr<v1::Volume> GetVolume(
      const v1::GetVolumeRequest& request) override;
  absl::StatusOr<v1::ListVolumesResponse> ListVolumes(
      const v1::ListVolumesRequest& request) override;
  absl::StatusOr<v1::Volume> UpdateVolume(
      const v1::UpdateVolumeRequest& request) override;
  absl::Status DeleteVolume(const v1::DeleteVolumeRequest& request) override;
  absl::StatusOr<v1::VolumeStats> StatVolume(
      const v1::StatVolumeRequest& request) override;
  absl::StatusOr<v1::GetServerInfoResponse> GetServerInfo() override;
  absl::Status CheckHealth() override { return failure_; }
  absl::StatusOr<std::shared_ptr<VolumeConnection>> Open(
      const std::string& name, const OpenOptions& options) override;
  uint64_t reconnects() const override { return 0; }
  uint64_t lost_streams() const override { return 0; }

  // Test side.
  // Every call but Open fails so, while it is not OK.
  void set_failure(absl::Status failure) { failure_ = std::move(failure); }
  bool Has(const std::string& name) const { return volumes_.count(name) > 0; }
  FakeVolume& data(const std::string& name) { return *data_.at(name); }
  v1::Volume& settings(const std::string& name) { return volumes_.at(name); }
  // Called with every volume that is created.
  std::function<void(FakeVolume&)> on_create;
  v1::VolumeStats stats;  // What StatVolume answers, but for sizes.
  std::vector<std::string> nbd_addresses;
  v1::CreateVolumeRequest last_create;
  v1::UpdateVolumeRequest last_update;
  v1::DeleteVolumeRequest last_delete;
  // Who wants to be alone is refused then.
  bool attached = false;

 private:
  absl::Status Find(const std::string& name) const;
  absl::Status CheckUnattached() const;

  absl::Status failure_;
  std::map<std::string, v1::Volume> volumes_;
  std::map<std::string, std::shared_ptr<FakeVolume>> data_;
  int etags_ = 0;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_TESTS_CLIENT_CLI_FAKE_SERVER_H_
