// The status page and the JSON behind it.
#ifndef RAMVOL_SERVER_STATUS_STATUS_PAGES_H_
#define RAMVOL_SERVER_STATUS_STATUS_PAGES_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "base/metrics/http_pages.h"
#include "base/mutex.h"
#include "server/engine/engine.h"
#include "server/status/history.h"
#include "server/status/server_state.h"
#include "server/status/volume_table.h"

namespace ramvol::status {

// Serves
//   /            the page, whose other files are at /page/...;
//   /api/v1/...  JSON for the page and for scripts, as docs/status-page.md
//                specifies.
//
// A thread takes a reading every History::kInterval. Nothing changes the
// server. Thread-safe.
class StatusPages final : public metrics::HttpPages {
 public:
  // Borrows `engine` and `client_memory`.
  StatusPages(const engine::Engine* engine, ClientMemory* client_memory,
              StateSource state, LabelSource labels);
  ~StatusPages() override;

  StatusPages(const StatusPages&) = delete;
  StatusPages& operator=(const StatusPages&) = delete;

  const metrics::HttpAnswer* FindFile(const std::string& path) const override;
  std::optional<metrics::HttpAnswer> Make(
      const metrics::HttpRequest& request) override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  metrics::HttpAnswer Series(const std::string& query) ABSL_LOCKS_EXCLUDED(mu_);
  metrics::HttpAnswer Volumes(const std::string& query)
      ABSL_LOCKS_EXCLUDED(mu_);

  const engine::Engine* const engine_;
  ClientMemory* const client_memory_;
  const StateSource state_;
  const LabelSource labels_;
  const absl::Time start_;
  std::map<std::string, metrics::HttpAnswer> files_;

  Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  History history_ ABSL_GUARDED_BY(mu_);
  VolumeTable volumes_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace ramvol::status

#endif  // RAMVOL_SERVER_STATUS_STATUS_PAGES_H_
