#include "server/access/audit_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/file_error.h"
#include "base/json.h"
#include "base/reason.h"

namespace ramvol::access {
namespace {

constexpr mode_t kMode = 0640;
// A record does not name more volumes.
constexpr size_t kMaxVolumes = 100;
constexpr size_t kMaxNameBytes = 256;

int OpenFile(const std::string& path) {
  return open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, kMode);
}

void AddNames(JsonWriter& json, const char* key,
              const std::vector<std::string>& names) {
  json.Key(key).BeginArray();
  for (size_t i = 0; i < names.size() && i < kMaxVolumes; ++i) {
    json.String(std::string_view(names[i]).substr(0, kMaxNameBytes));
  }
  json.EndArray();
}

std::string LineOf(const AuditLog::Record& record) {
  JsonWriter json;
  json.BeginObject().Key("time").String(absl::FormatTime(
      "%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()));
  AddNames(json, "identities",
           record.identity == nullptr ? std::vector<std::string>()
                                      : record.identity->names);
  json.Key("peer").String(record.peer).Key("call").String(record.call);
  AddNames(json, "volumes", record.volumes);
  json.Key("result").String(absl::StatusCodeToString(record.result.code()));
  if (!record.result.ok()) {
    json.Key("reason").String(GetReason(record.result));
  }
  json.EndObject();
  return json.Take() + "\n";
}

}  // namespace

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(
    const std::string& path) {
  const bool to_stdout = path == "-";
  const int fd = to_stdout ? STDOUT_FILENO : OpenFile(path);
  if (fd < 0) {
    return FileError(errno, absl::StrCat("cannot write the audit log ", path));
  }
  return std::unique_ptr<AuditLog>(new AuditLog(to_stdout ? "" : path, fd));
}

AuditLog::AuditLog(std::string path, int fd)
    : path_(std::move(path)), fd_(fd), thread_([this] { Run(); }) {}

AuditLog::~AuditLog() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
  MutexLock lock(&file_mu_);
  if (!path_.empty() && fd_ >= 0) close(fd_);
}

void AuditLog::Add(const Record& record) {
  const std::string line = LineOf(record);
  MutexLock lock(&mu_);
  if (queued_.size() + line.size() > kMaxQueuedBytes) {
    lost_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  queued_ += line;
  ++queued_records_;
  changed_.Signal();
}

void AuditLog::Reopen() {
  if (path_.empty()) return;
  MutexLock lock(&file_mu_);
  struct stat there = {};
  struct stat ours = {};
  const bool same = stat(path_.c_str(), &there) == 0 && fd_ >= 0 &&
                    fstat(fd_, &ours) == 0 && there.st_ino == ours.st_ino &&
                    there.st_dev == ours.st_dev;
  if (same) return;
  const int fd = OpenFile(path_);
  if (fd < 0) return;  // What is open goes on.
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

bool AuditLog::Write(std::string_view lines) {
  MutexLock lock(&file_mu_);
  while (!lines.empty()) {
    const ssize_t wrote = write(fd_, lines.data(), lines.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    lines.remove_prefix(static_cast<size_t>(wrote));
  }
  return true;
}

void AuditLog::Run() {
  bool failing = false;
  for (;;) {
    std::string lines;
    uint64_t records = 0;
    {
      MutexLock lock(&mu_);
      while (queued_.empty() && !stopping_) changed_.Wait(&mu_);
      if (queued_.empty()) return;
      lines.swap(queued_);
      records = std::exchange(queued_records_, 0);
    }
    const bool written = Write(lines);
    (written ? written_ : lost_).fetch_add(records, std::memory_order_relaxed);
    if (!written && !failing) {
      LogEvent(Event::kAccessWarning,
               {.message = absl::StrCat("the audit log cannot be written: ",
                                        std::strerror(errno))});
    }
    failing = !written;
  }
}

}  // namespace ramvol::access
