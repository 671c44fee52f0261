// Who did what, for those who have to know later.
#ifndef RAMVOL_SERVER_ACCESS_AUDIT_LOG_H_
#define RAMVOL_SERVER_ACCESS_AUDIT_LOG_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/access/identity.h"

namespace ramvol::access {

// One line of JSON for each record:
//
//   {"time":"2026-11-29T03:12:50.000Z","identities":["token:ci"],
//    "peer":"10.0.0.1:40112","call":"ramvol.v1.VolumeService/CreateVolume",
//    "volumes":["disk"],"result":"OK"}
//
// Results that are not OK are names of codes, with the "reason" of the error.
// A thread writes the lines. When more than kMaxQueuedBytes wait for a disk
// that is slow or full, records are left out, counted and told of in the log:
// operations never wait for it. Thread-safe.
class AuditLog {
 public:
  struct Record {
    const Identity* identity = nullptr;  // Null: not known.
    std::string_view peer = {};
    std::string_view call = {};
    std::vector<std::string> volumes = {};
    absl::Status result = absl::OkStatus();
  };
  static constexpr size_t kMaxQueuedBytes = size_t{4} << 20;

  // Appends to the file, which others may rename away: Reopen finds that. "-"
  // is standard output. UNKNOWN, reason by errno, when it cannot be opened.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(
      const std::string& path);
  // Writes what is queued.
  ~AuditLog();

  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  void Add(const Record& record) ABSL_LOCKS_EXCLUDED(mu_);
  // Opens the file again if it was renamed or removed. Call it now and then.
  void Reopen();

  uint64_t written() const { return written_.load(std::memory_order_relaxed); }
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  AuditLog(std::string path, int fd);

  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether all of it was written.
  bool Write(std::string_view lines) ABSL_LOCKS_EXCLUDED(file_mu_);

  const std::string path_;  // "" for standard output.
  std::atomic<uint64_t> written_{0};
  std::atomic<uint64_t> lost_{0};

  Mutex file_mu_;
  int fd_ ABSL_GUARDED_BY(file_mu_);

  Mutex mu_;
  CondVar changed_;
  std::string queued_ ABSL_GUARDED_BY(mu_);
  uint64_t queued_records_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // Last: it uses the others.
  std::thread thread_;
};

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_AUDIT_LOG_H_
