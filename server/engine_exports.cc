#include "server/engine_exports.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/engine/changed_extents.h"
#include "server/engine/volume.h"
#include "server/service/snapshot_fields.h"
#include "server/service/uid.h"

namespace ramvol::server {
namespace {

// How many volumes to list at a time.
constexpr size_t kListPage = 1000;

// A volume, attached for one connection.
class EngineDevice final : public nbd::BlockDevice {
 public:
  EngineDevice(const engine::Engine& engine, engine::Attachment attachment)
      : engine_(engine),
        attachment_(std::move(attachment)),
        volume_(attachment_.volume()),
        size_bytes_(volume_.size_bytes()),
        read_only_(volume_.read_only()) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return read_only_; }
  bool synchronous() const override { return true; }

  void Read(uint64_t offset, absl::Span<char> out,
            nbd::Completion* done) override {
    absl::Status status = volume_.Read(offset, out);
    if (status.ok()) attachment_.CountRead(out.size());
    done->Done(std::move(status));
  }

  void Write(uint64_t offset, absl::Span<const char> data,
             nbd::Completion* done) override {
    absl::Status status = volume_.Write(offset, data);
    if (status.ok()) attachment_.CountWrite(data.size());
    done->Done(std::move(status));
  }

  void Trim(uint64_t offset, uint64_t length, nbd::Completion* done) override {
    done->Done(volume_.Trim(offset, length));
  }

  void WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                   nbd::Completion* done) override {
    done->Done(volume_.WriteZeroes(offset, length, no_hole));
  }

  void Flush(nbd::Completion* done) override { done->Done(volume_.Flush()); }

  void GetExtents(uint64_t offset, uint64_t length, size_t max_extents,
                  std::vector<nbd::Extent>* extents,
                  nbd::Completion* done) override {
    const auto found = volume_.GetExtents(offset, length, max_extents);
    if (!found.ok()) return done->Done(found.status());
    for (const engine::Extent& extent : found->extents) {
      extents->push_back(
          {extent.offset_bytes, extent.length_bytes, extent.hole});
    }
    done->Done(absl::OkStatus());
  }

  void GetChanges(const std::string& snapshot_uid, uint64_t offset,
                  uint64_t length, size_t max_extents,
                  std::vector<nbd::Extent>* extents,
                  nbd::Completion* done) override {
    const auto uid = service::ParseUid(snapshot_uid);
    const auto since = uid.has_value() ? engine_.FindUid(*uid) : nullptr;
    if (since == nullptr) return done->Done(SnapshotGone());
    const auto found =
        engine::ListChanges(volume_, *since, offset, length, max_extents);
    if (!found.ok()) {
      // It may have been deleted meanwhile.
      const bool here = volume_.Flush().ok();
      return done->Done(here && absl::IsNotFound(found.status())
                            ? SnapshotGone()
                            : found.status());
    }
    for (const engine::ChangedExtent& extent : found->extents) {
      extents->push_back({.offset = extent.offset_bytes,
                          .length = extent.length_bytes,
                          .changed = extent.changed});
    }
    done->Done(absl::OkStatus());
  }

 private:
  // NOT_FOUND would mean the volume.
  static absl::Status SnapshotGone() {
    return absl::InvalidArgumentError(
        "the snapshot that the metadata context is about was deleted; connect "
        "again, with the context of another one");
  }

  const engine::Engine& engine_;
  const engine::Attachment attachment_;
  engine::Volume& volume_;
  const uint64_t size_bytes_;
  const bool read_only_;
};

nbd::ExportInfo InfoOf(std::string name, const engine::Volume& volume) {
  return {std::move(name), volume.size_bytes(), volume.read_only(),
          service::FormatUid(volume.uid())};
}

}  // namespace

absl::StatusOr<nbd::ExportPage> EngineExports::List(const std::string& from) {
  nbd::ExportPage page;
  const auto add = [&](const std::string& after) {
    const size_t most = kListPage - page.exports.size();
    for (auto& [name, volume] : engine_.List(after, most)) {
      page.exports.push_back(InfoOf(std::move(name), *volume));
    }
  };
  add(from);
  // Snapshots follow the volumes; their names are greater than "@".
  if (!service::NamesSnapshot(from)) add("@");
  if (page.exports.size() == kListPage) page.next = page.exports.back().name;
  return page;
}

absl::StatusOr<nbd::ExportInfo> EngineExports::Find(std::string_view name) {
  const auto volume = engine_.Find(name);
  if (!volume.ok()) return volume.status();
  return InfoOf(std::string(name), **volume);
}

absl::StatusOr<std::vector<std::string>> EngineExports::ListSnapshots(
    std::string_view name, size_t max) {
  return catalog_.ListRelated(std::string(name), max);
}

absl::StatusOr<std::unique_ptr<nbd::BlockDevice>> EngineExports::Open(
    std::string_view name, std::string_view client) {
  auto volume = engine_.Find(name);
  if (!volume.ok()) return volume.status();
  auto attachment = engine::Attachment::Make(*std::move(volume),
                                             {"nbd", std::string(client)});
  if (!attachment.ok()) return attachment.status();
  return std::make_unique<EngineDevice>(engine_, *std::move(attachment));
}

}  // namespace ramvol::server
