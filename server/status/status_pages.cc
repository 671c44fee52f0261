#include "server/status/status_pages.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "server/status/http_query.h"
#include "server/status/page_files.h"
#include "server/status/status_json.h"

namespace ramvol::status {
namespace {

using metrics::HttpAnswer;

constexpr uint64_t kDefaultLimit = 100;
constexpr uint64_t kMaxLimit = 1000;

// The page loads only its own files, runs only its own code, and is shown in no
// frame.
constexpr char kFields[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Cache-Control: no-store\r\n";

HttpAnswer Json(std::string body, int code = 200) {
  return {.code = code,
          .body = std::move(body),
          .type = "application/json",
          .fields = kFields};
}

HttpAnswer Wrong(const absl::Status& status) {
  return Json(ErrorJson(std::string(status.message())), 400);
}

absl::StatusOr<VolumeQuery> ParseVolumeQuery(const std::string& text) {
  const auto query = ParseHttpQuery(text);
  const auto text_of = [&query](std::string_view name) {
    const auto found = query.find(name);
    return found == query.end() ? std::string() : found->second;
  };
  const auto sort = FindSortKey(text_of("sort"));
  if (!sort.ok()) return sort.status();
  const std::string order = text_of("order");
  if (!order.empty() && order != "asc" && order != "desc") {
    return absl::InvalidArgumentError("order is neither asc nor desc");
  }
  const auto offset =
      NumberOf(query, "offset", 0, std::numeric_limits<uint32_t>::max());
  if (!offset.ok()) return offset.status();
  const auto limit = NumberOf(query, "limit", kDefaultLimit, kMaxLimit);
  if (!limit.ok()) return limit.status();
  return VolumeQuery{.filter = text_of("filter"),
                     .sort = *sort,
                     .descending = order == "desc",
                     .offset = *offset,
                     .limit = *limit};
}

}  // namespace

StatusPages::StatusPages(const engine::Engine* engine,
                         ClientMemory* client_memory, StateSource state,
                         LabelSource labels)
    : engine_(engine),
      client_memory_(client_memory),
      state_(std::move(state)),
      labels_(std::move(labels)),
      start_(absl::Now()),
      volumes_(engine, labels_) {
  for (const PageFile& file : kPageFiles) {
    files_[std::string(file.path)] = {.body = std::string(file.content),
                                      .type = std::string(file.type),
                                      .fields = kFields};
  }
  thread_ = std::thread([this] { Run(); });
}

StatusPages::~StatusPages() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wake_.SignalAll();
  }
  thread_.join();
}

void StatusPages::Run() {
  absl::Time next = start_;
  for (;;) {
    // Whole milliseconds, as in JSON: `since_ms` of the last sample then leaves
    // out exactly the samples up to it.
    const absl::Time now =
        absl::FromUnixMillis(absl::ToUnixMillis(absl::Now()));
    const Reading reading = {now, SteadyNowNs(), engine_->Stats(),
                             client_memory_->GetStats().used_bytes};
    next += History::kInterval;
    MutexLock lock(&mu_);
    history_.Add(reading);
    volumes_.ForgetIfUnused(reading.steady_ns);
    // The clock may have been set, or the process suspended.
    if (next <= reading.time || next > reading.time + 2 * History::kInterval) {
      next = reading.time + History::kInterval;
    }
    while (!stopping_ && absl::Now() < next) {
      wake_.WaitFor(&mu_, next - absl::Now());
    }
    if (stopping_) return;
  }
}

const HttpAnswer* StatusPages::FindFile(const std::string& path) const {
  const auto found = files_.find(path);
  return found == files_.end() ? nullptr : &found->second;
}

std::optional<HttpAnswer> StatusPages::Make(
    const metrics::HttpRequest& request) {
  if (request.path == "/api/v1/status") {
    return Json(StatusJson(start_, absl::Now(), *engine_,
                           client_memory_->GetStats(), state_()));
  }
  if (request.path == "/api/v1/series") return Series(request.query);
  if (request.path == "/api/v1/volumes") return Volumes(request.query);
  return std::nullopt;
}

HttpAnswer StatusPages::Series(const std::string& query) {
  const auto since =
      NumberOf(ParseHttpQuery(query), "since_ms", 0,
               static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!since.ok()) return Wrong(since.status());
  const absl::Time time = absl::FromUnixMillis(static_cast<int64_t>(*since));
  MutexLock lock(&mu_);
  return Json(SeriesJson(start_, history_.After(time)));
}

HttpAnswer StatusPages::Volumes(const std::string& query) {
  const auto parsed = ParseVolumeQuery(query);
  if (!parsed.ok()) return Wrong(parsed.status());
  MutexLock lock(&mu_);
  volumes_.Refresh(SteadyNowNs());
  return Json(VolumesJson(*parsed, volumes_.Find(*parsed), labels_));
}

}  // namespace ramvol::status
