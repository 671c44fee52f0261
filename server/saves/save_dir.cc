#include "server/saves/save_dir.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/duration_text.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "base/size.h"
#include "server/saves/manifest.h"
#include "server/saves/save_reader.h"

namespace ramvol::saves {
namespace {

constexpr char kWriting[] = "writing";
constexpr char kSavePrefix[] = "save-";
constexpr char kKeptPrefix[] = "kept-";
constexpr size_t kAll = std::numeric_limits<size_t>::max();
constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr absl::Duration kProgressInterval = absl::Milliseconds(200);

// nullopt when it is no save's.
std::optional<uint64_t> NumberOf(absl::string_view name) {
  uint64_t number = 0;
  if (!absl::ConsumePrefix(&name, kSavePrefix) ||
      !absl::SimpleAtoi(name, &number) || number == 0) {
    return std::nullopt;
  }
  return number;
}

// Snapshots without a name, which go with this.
class Snapshots {
 public:
  explicit Snapshots(engine::Engine* engine) : engine_(*engine) {}
  ~Snapshots() {
    for (const auto& one : all_) {
      (void)engine_.DeleteVolume(one, /*force=*/true);
    }
  }
  Snapshots(const Snapshots&) = delete;
  Snapshots& operator=(const Snapshots&) = delete;

  // Makes those of all volumes, at one instant, but for those that were deleted
  // since they were listed.
  absl::Status Take(std::vector<Root>* roots) {
    absl::Status status;
    for (bool again = true; again;) {
      status = TakeAll(roots);
      again = absl::IsNotFound(status) &&
              std::erase_if(*roots, [](const Root& root) {
                return absl::IsNotFound(root.content->Flush());
              }) > 0;
    }
    return status;
  }

 private:
  absl::Status TakeAll(std::vector<Root>* roots) {
    std::vector<std::shared_ptr<engine::Volume>> volumes;
    for (const Root& root : *roots) {
      if (root.name[0] != '@') volumes.push_back(root.content);
    }
    auto made = engine_.SnapshotAllHidden(volumes);
    if (!made.ok()) return made.status();
    all_ = *std::move(made);
    auto next = all_.begin();
    for (Root& root : *roots) {
      if (root.name[0] != '@') root.content = *next++;
    }
    return absl::OkStatus();
  }

  engine::Engine& engine_;
  std::vector<std::shared_ptr<engine::Volume>> all_;
};

// All that there is. Damaged ones have nothing that could be saved.
std::vector<Root> ListRoots(engine::Engine* engine,
                            std::vector<LeftOut>* left_out) {
  std::vector<Root> roots;
  for (const char* const after : {"", "@"}) {
    for (const engine::NamedVolume& named : engine->List(after, kAll)) {
      if (named.volume->damaged()) {
        // The save that has its image is kept.
        if (named.volume->completeness() == engine::Completeness::kIncomplete) {
          continue;
        }
        left_out->push_back({named.name, "it is damaged; delete it"});
        continue;
      }
      roots.push_back(Describe(named));
      roots.back().content = named.volume;
    }
  }
  return roots;
}

absl::StatusOr<std::string> ReadFile(OldFile file) {
  std::string all;
  for (;;) {
    const size_t old = all.size();
    all.resize(old + kPieceBytes);
    auto got = file.Read(absl::MakeSpan(all).subspan(old));
    if (!got.ok()) return got.status();
    all.resize(old + *got);
    if (*got == 0) return all;
  }
}

std::string Counts(size_t volumes, size_t snapshots, uint64_t bytes,
                   absl::Duration took) {
  return absl::StrCat(volumes, " volumes and ", snapshots, " snapshots, ",
                      FormatSize(bytes), ", in ", DurationText(took));
}

void LogDamage(const std::vector<LeftOut>& damaged, absl::string_view what) {
  for (const LeftOut& one : damaged) {
    LogEvent(Event::kDataLoss,
             {.volume = one.name,
              .reason = reason::kDamagedImage,
              .message =
                  absl::StrCat(what, ": ", one.why,
                               "; the next save leaves this one where it is")});
  }
}

void LogBegun(const SaveDir::Restored& restored) {
  LogEvent(Event::kNote,
           {.message = absl::StrCat("serving ", restored.volumes,
                                    " volumes and ", restored.snapshots,
                                    " snapshots of ", restored.path, " while ",
                                    FormatSize(restored.bytes), " are read")});
}

void LogRead(const SaveDir::Restored& restored) {
  const double rate = static_cast<double>(restored.bytes) /
                      std::max(1e-3, absl::ToDoubleSeconds(restored.took));
  LogEvent(
      Event::kRecovered,
      {.message = absl::StrCat("from ", restored.path, ": ",
                               Counts(restored.volumes, restored.snapshots,
                                      restored.bytes, restored.took),
                               " (", FormatSize(static_cast<uint64_t>(rate)),
                               "/s), ", restored.damaged.size(), " damaged"),
       .count = restored.volumes + restored.snapshots});
}

void Log(const absl::StatusOr<SaveDir::Saved>& saved) {
  if (!saved.ok()) {
    LogEvent(Event::kSaveFailed,
             {.message = std::string(saved.status().message())});
    return;
  }
  for (const LeftOut& one : saved->left_out) {
    LogEvent(
        Event::kSaveFailed,
        {.volume = one.name,
         .message = absl::StrCat("it is not in ", saved->path, ": ", one.why)});
  }
  LogEvent(Event::kSaved,
           {.message = absl::StrCat(saved->path, ": ",
                                    Counts(saved->volumes, saved->snapshots,
                                           saved->bytes, saved->took))});
}

// A save cannot be read: nothing is changed, and people decide.
absl::Status Refuse(const std::string& what, const std::string& path) {
  return absl::FailedPreconditionError(
      absl::StrCat(what, "; to start without this save, move it away: mv ",
                   path, " ", path, ".old"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SaveDir>> SaveDir::Open(const std::string& path,
                                                       DiskHook hook) {
  auto dir = Directory::Open(path, std::move(hook));
  if (!dir.ok()) return Annotate(dir.status(), "--save_dir");
  auto locked = dir->Lock();
  if (!locked.ok()) return Annotate(locked.status(), "--save_dir");
  if (!*locked) {
    return absl::FailedPreconditionError(
        absl::StrCat("another ramvold uses the --save_dir ", path,
                     "; stop it, or give this one another directory"));
  }
  auto names = dir->List();
  if (!names.ok()) return Annotate(names.status(), "--save_dir");
  std::unique_ptr<SaveDir> opened(new SaveDir(*std::move(dir)));
  MutexLock lock(&opened->mu_);
  for (const std::string& name : *names) {
    opened->last_ = std::max(opened->last_, NumberOf(name).value_or(0));
  }
  return opened;
}

std::string SaveDir::PathOf(uint64_t number) const {
  return absl::StrCat(dir_.path(), "/", kSavePrefix, number);
}

SaveDir::Stats SaveDir::stats() const {
  uint64_t left_bytes = 0;
  {
    MutexLock lock(&reading_mu_);
    if (reading_ != nullptr) left_bytes = reading_->left_bytes();
  }
  MutexLock lock(&stats_mu_);
  Stats stats = stats_;
  stats.restoring_bytes = left_bytes;
  return stats;
}

SaveDir::~SaveDir() {
  stops_ = true;
  if (thread_.joinable()) thread_.join();
}

// --- Reading ---

absl::StatusOr<SaveDir::Restored> SaveDir::Begin(engine::Engine* engine,
                                                 const Progress& progress) {
  MutexLock lock(&mu_);
  if (last_ == 0) return Restored();
  auto restored = OpenLast(engine, progress);
  if (!restored.ok()) return restored;
  keep_last_ = !restored->damaged.empty();
  {
    MutexLock stats_lock(&stats_mu_);
    stats_.restored_bytes = restored->bytes;
    stats_.damaged_images = restored->damaged.size();
  }
  LogDamage(restored->damaged, "it is not back");
  LogBegun(*restored);
  StartThread(engine, *restored);
  return restored;
}

void SaveDir::StartThread(engine::Engine* engine, const Restored& begun) {
  if (!reads_ahead_) return;
  thread_ =
      std::thread([this, engine, begun = begun] { ReadRest(engine, begun); });
}

absl::StatusOr<SaveDir::Found> SaveDir::FindSave(uint64_t id) const {
  auto names = dir_.List();
  if (!names.ok()) return Annotate(names.status(), "--save_dir");
  for (const std::string& name : *names) {
    // Also kept ones: what is missing may be all that one is kept for.
    if (!absl::StartsWith(name, kSavePrefix) &&
        !absl::StartsWith(name, kKeptPrefix)) {
      continue;
    }
    auto dir = dir_.OpenBelow(name);
    if (!dir.ok()) continue;
    auto file = dir->OpenFile(kManifestFile);
    if (!file.ok()) continue;
    const auto bytes = ReadFile(*std::move(file));
    if (!bytes.ok() || SaveIdOf(*bytes) != id) continue;
    auto manifest = ParseManifest(*bytes);
    if (!manifest.ok()) return manifest.status();
    return Found{name, *std::move(dir), *std::move(manifest)};
  }
  return absl::NotFoundError(absl::StrCat(
      "the save that they are to be read from is not in ", dir_.path()));
}

absl::StatusOr<SaveDir::Restored> SaveDir::Resume(engine::Engine* engine) {
  MutexLock lock(&mu_);
  auto found = FindSave(engine->recovered().outside);
  if (!found.ok()) return found.status();
  const absl::Time began = absl::Now();
  const Progress none;
  SaveReader reader(std::move(found->dir), std::move(found->manifest), engine,
                    &none);
  std::shared_ptr<ReadBack> reading = reader.ResumeReadBack();
  Restored restored;
  restored.path = absl::StrCat(dir_.path(), "/", found->name);
  restored.volumes = reader.volumes();
  restored.snapshots = reader.snapshots();
  restored.bytes = reader.bytes();
  restored.damaged = reader.damaged();
  restored.took = absl::Now() - began;
  keep_last_ = !restored.damaged.empty();
  {
    MutexLock stats_lock(&stats_mu_);
    stats_.restored_bytes = restored.bytes;
    stats_.damaged_images = restored.damaged.size();
  }
  LogDamage(restored.damaged, "some of it is not back");
  LogBegun(restored);
  MutexLock reading_lock(&reading_mu_);
  reading_ = std::move(reading);
  StartThread(engine, restored);
  return restored;
}

void SaveDir::ReadRest(engine::Engine* engine, Restored restored) {
  const absl::Time began = absl::Now();
  std::shared_ptr<ReadBack> reading;
  {
    MutexLock lock(&reading_mu_);
    reading = reading_;
  }
  const std::vector<LeftOut> damaged =
      reading->Run(engine, [this] { return !stops_.load(); });
  if (stops_) return;
  LogDamage(damaged, "some of it is lost");
  restored.damaged.insert(restored.damaged.end(), damaged.begin(),
                          damaged.end());
  restored.took += absl::Now() - began;
  {
    MutexLock lock(&mu_);
    keep_last_ = keep_last_ || !damaged.empty();
    MutexLock stats_lock(&stats_mu_);
    stats_.damaged_images = restored.damaged.size();
  }
  LogRead(restored);
  MutexLock lock(&reading_mu_);
  reading_ = nullptr;
  read_.SignalAll();
}

absl::Status SaveDir::AwaitRestored(const Progress& progress) {
  MutexLock lock(&reading_mu_);
  while (reading_ != nullptr) {
    if (progress != nullptr) {
      absl::Status status =
          progress(reading_->bytes() - reading_->left_bytes());
      if (!status.ok()) return status;
    }
    (void)read_.WaitFor(&reading_mu_, kProgressInterval);
  }
  return absl::OkStatus();
}

uint64_t SaveDir::RestoringBytes(uint64_t uid) const {
  MutexLock lock(&reading_mu_);
  return reading_ == nullptr ? 0 : reading_->LeftOf(uid);
}

absl::StatusOr<SaveDir::Restored> SaveDir::OpenLast(engine::Engine* engine,
                                                    const Progress& progress) {
  const absl::Time began = absl::Now();
  const std::string path = PathOf(last_);
  const std::string manifest_path = absl::StrCat(path, "/", kManifestFile);
  auto dir = dir_.OpenBelow(absl::StrCat(kSavePrefix, last_));
  if (!dir.ok()) return Refuse(std::string(dir.status().message()), path);
  auto file = dir->OpenFile(kManifestFile);
  if (!file.ok()) return Refuse(std::string(file.status().message()), path);
  auto bytes = ReadFile(*std::move(file));
  if (!bytes.ok()) return Refuse(std::string(bytes.status().message()), path);
  auto manifest = ParseManifest(*bytes);
  if (!manifest.ok()) {
    return Refuse(absl::StrCat(manifest_path, " ", manifest.status().message()),
                  path);
  }
  const uint64_t save_id = SaveIdOf(*bytes);
  const auto memory_bytes = static_cast<uint64_t>(manifest->memory_bytes());
  SaveReader reader(*std::move(dir), *std::move(manifest), engine, &progress);
  absl::Status status = reader.OpenImages();
  const bool none = reader.volumes() + reader.snapshots() == 0;
  if (status.ok() && none && !reader.damaged().empty()) {
    return Refuse(absl::StrCat("nothing of the save ", path,
                               " can be read: ", reader.damaged()[0].why),
                  path);
  }
  std::shared_ptr<ReadBack> reading;
  if (status.ok()) {
    auto begun = reader.BeginReadBack(save_id);
    status = begun.status();
    if (begun.ok()) reading = *std::move(begun);
  }
  if (status.ok()) status = reader.Publish();
  if (absl::IsResourceExhausted(status)) {
    return Refuse(
        absl::StrCat("the save ", path, " does not fit: ", status.message(),
                     "; its volumes took ", FormatSize(memory_bytes),
                     " of memory when they were saved, and --memory_limit is ",
                     FormatExactSize(engine->options().memory_limit_bytes),
                     "; start with the limits of then"),
        path);
  }
  if (absl::IsCancelled(status)) return status;
  if (!status.ok()) {
    return Refuse(
        absl::StrCat("cannot read the save ", path, ": ", status.message()),
        path);
  }
  Restored restored;
  restored.path = path;
  restored.volumes = reader.volumes();
  restored.snapshots = reader.snapshots();
  restored.bytes = reader.bytes();
  restored.damaged = reader.damaged();
  restored.took = absl::Now() - began;
  MutexLock lock(&reading_mu_);
  reading_ = std::move(reading);
  return restored;
}

// --- Writing ---

absl::StatusOr<SaveDir::Saved> SaveDir::Save(engine::Engine* engine, bool quiet,
                                             const Progress& progress) {
  absl::Status restored = AwaitRestored(progress);
  if (!restored.ok()) return restored;
  if (quiet) {
    mu_.Lock();
  } else if (!mu_.TryLock()) {
    return WithReason(
        absl::FailedPreconditionError(
            "the server is saving all volumes already; wait for that"),
        reason::kSaveUnderWay);
  }
  const absl::Time began = absl::Now();
  auto saved = Write(engine, quiet, progress);
  if (saved.ok()) {
    saved->took = absl::Now() - began;
  } else {
    saved = Explain(saved.status());
  }
  mu_.Unlock();
  Log(saved);
  MutexLock lock(&stats_mu_);
  stats_.last_failed = !saved.ok() || !saved->left_out.empty();
  ++(stats_.last_failed ? stats_.failed : stats_.saves);
  if (saved.ok()) {
    stats_.last_time = began;
    stats_.last_took = saved->took;
    stats_.last_bytes = saved->bytes;
  }
  return saved;
}

absl::Status SaveDir::Explain(const absl::Status& status) const {
  if (absl::IsCancelled(status) || absl::IsUnavailable(status)) return status;
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          "the volumes are not saved: ", status.message(),
          last_ == 0 ? "; there is no earlier save"
                     : absl::StrCat("; the save before is still there: ",
                                    PathOf(last_)))),
      reason::kSaveFailed);
}

absl::StatusOr<SaveDir::Saved> SaveDir::Write(engine::Engine* engine,
                                              bool quiet,
                                              const Progress& progress) {
  const uint64_t memory_bytes = engine->Stats().memory_used_bytes;
  Snapshots snapshots(engine);
  std::vector<LeftOut> left_out;
  std::vector<Root> roots = ListRoots(engine, &left_out);
  absl::Status status = quiet ? absl::OkStatus() : snapshots.Take(&roots);
  const absl::Time now = absl::Now();
  if (status.ok()) status = Plan(&roots);
  if (!status.ok()) return status;
  auto saved = WriteRoots(std::move(roots), now, memory_bytes, progress);
  if (!saved.ok()) {
    // What there is of it only takes the disk's room.
    (void)dir_.RemoveBelow(kWriting);
    return saved;
  }
  saved->left_out.insert(saved->left_out.begin(), left_out.begin(),
                         left_out.end());
  // It is saved; what is left of earlier ones goes with a later one.
  (void)RemoveOld(keep_last_ || !saved->left_out.empty());
  keep_last_ = false;
  return saved;
}

absl::StatusOr<SaveDir::Saved> SaveDir::WriteRoots(std::vector<Root> roots,
                                                   absl::Time now,
                                                   uint64_t memory_bytes,
                                                   const Progress& progress) {
  absl::Status status = dir_.RemoveBelow(kWriting);
  if (status.ok()) status = dir_.MakeBelow(kWriting);
  if (!status.ok()) return status;
  auto dir = dir_.OpenBelow(kWriting);
  if (!dir.ok()) return dir.status();
  SaveWriter writer(&*dir, std::move(roots), &progress);
  status = writer.WriteImages();
  if (status.ok()) status = writer.Finish(now, memory_bytes);
  if (!status.ok()) return status;
  const uint64_t number = last_ + 1;
  status = dir_.Rename(kWriting, absl::StrCat(kSavePrefix, number));
  if (status.ok()) status = dir_.Sync();
  if (!status.ok()) return status;
  last_ = number;
  Saved saved;
  saved.path = PathOf(number);
  saved.volumes = writer.volumes();
  saved.snapshots = writer.snapshots();
  saved.bytes = writer.bytes();
  saved.left_out = writer.left_out();
  return saved;
}

absl::Status SaveDir::RemoveOld(bool keep) {
  auto names = dir_.List();
  if (!names.ok()) return names.status();
  absl::Status status;
  for (const std::string& name : *names) {
    const auto number = NumberOf(name);
    if (!number.has_value() || *number == last_) continue;
    if (keep && *number + 1 == last_) {
      status.Update(dir_.Rename(name, absl::StrCat(kKeptPrefix, *number)));
    } else {
      status.Update(dir_.RemoveBelow(name));
    }
  }
  return status;
}

}  // namespace ramvol::saves
