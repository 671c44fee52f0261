#include "server/engine_exports.h"

#include <array>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/call_peer.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "server/access/authority.h"
#include "server/access/identity.h"
#include "server/access/role.h"
#include "server/access/sessions.h"
#include "server/engine/changed_extents.h"
#include "server/engine/volume.h"
#include "server/service/rpc_rules.h"
#include "server/service/snapshot_fields.h"
#include "server/service/uid.h"

namespace ramvol::server {
namespace {

// How many volumes to list at a time.
constexpr size_t kListPage = 1000;

// A volume, attached for one connection.
class EngineDevice final : public block::BlockDevice {
 public:
  // Makes sure that the device may go on. Empty: whoever opened it may.
  struct Rights {
    bool may_write = true;
    engine::BufferOf buffers = engine::BufferOf::kCaller;
    // Of a snapshot that changes are asked of.
    std::function<absl::Status(const std::string& name)> may_read;
    access::Sessions::Entry session;
  };

  EngineDevice(const engine::Engine& engine, engine::Attachment attachment,
               Rights rights)
      : engine_(engine),
        rights_(std::move(rights)),
        attachment_(std::move(attachment)),
        volume_(attachment_.volume()),
        read_only_(volume_.read_only() || !rights_.may_write) {}

  uint64_t size_bytes() const override { return volume_.size_bytes(); }
  bool read_only() const override { return read_only_; }
  bool synchronous() const override { return true; }

  void Read(uint64_t offset, absl::Span<char> out,
            block::Completion* done) override {
    absl::Status status = volume_.Read(offset, out, rights_.buffers);
    if (status.ok()) attachment_.CountRead(out.size());
    done->Done(std::move(status));
  }

  void Write(uint64_t offset, absl::Span<const char> data,
             block::Completion* done) override {
    absl::Status status = volume_.Write(offset, data, rights_.buffers);
    if (status.ok()) attachment_.CountWrite(data.size());
    done->Done(std::move(status));
  }

  void Trim(uint64_t offset, uint64_t length,
            block::Completion* done) override {
    done->Done(volume_.Trim(offset, length));
  }

  void WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                   block::Completion* done) override {
    done->Done(volume_.WriteZeroes(offset, length, no_hole));
  }

  void Flush(block::Completion* done) override { done->Done(volume_.Flush()); }

  void GetExtents(uint64_t offset, uint64_t length, size_t max_extents,
                  std::vector<block::Extent>* extents,
                  block::Completion* done) override {
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
                  std::vector<block::Extent>* extents,
                  block::Completion* done) override {
    const auto uid = service::ParseUid(snapshot_uid);
    const auto since = uid.has_value() ? engine_.FindUid(*uid) : nullptr;
    if (since == nullptr) return done->Done(SnapshotGone());
    if (rights_.may_read != nullptr && !rights_.may_read(since->name()).ok()) {
      return done->Done(SnapshotGone());
    }
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
  const Rights rights_;
  const engine::Attachment attachment_;
  engine::Volume& volume_;
  const bool read_only_;
};

block::ExportInfo InfoOf(std::string name, const engine::Volume& volume) {
  return {std::move(name), volume.size_bytes(), volume.read_only(),
          service::FormatUid(volume.uid())};
}

}  // namespace

absl::StatusOr<block::ExportPage> EngineExports::List(const std::string& from) {
  block::ExportPage page;
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

absl::StatusOr<block::ExportInfo> EngineExports::Find(std::string_view name) {
  const auto volume = engine_.Find(name);
  if (!volume.ok()) return volume.status();
  return InfoOf(std::string(name), **volume);
}

absl::StatusOr<std::vector<std::string>> EngineExports::ListSnapshots(
    std::string_view name, size_t max) {
  return catalog_.ListRelated(std::string(name), max);
}

absl::StatusOr<std::unique_ptr<block::BlockDevice>> EngineExports::Open(
    std::string_view name, std::string_view client) {
  auto volume = engine_.Find(name);
  if (!volume.ok()) return volume.status();
  const auto limiter = (*volume)->limiter();
  auto attachment = engine::Attachment::Make(
      *std::move(volume), {options_.over, std::string(client)});
  if (!attachment.ok()) return attachment.status();
  EngineDevice::Rights rights;
  rights.buffers = buffers();
  return Limit(nullptr, limiter, name,
               std::make_unique<EngineDevice>(engine_, *std::move(attachment),
                                              std::move(rights)));
}

absl::StatusOr<std::unique_ptr<block::BlockDevice>> EngineExports::Limit(
    std::shared_ptr<UsageLimiter> identity,
    const std::shared_ptr<UsageLimiter>& volume, std::string_view name,
    std::unique_ptr<block::BlockDevice> device) const {
  UsageLimiters limiters(std::move(identity), volume);
  std::array<UsageLimiter::Place, 2> places;
  const bool is_nbd = std::string_view(options_.over) == kNbd;
  if (is_nbd && !limiters.Enter(UsageLimiter::Kind::kNbdConnection, &places)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "volume \"", absl::string_view(name.data(), name.size()),
        "\" has as many NBD connections as its limits allow, or the client "
        "has; close some, or raise limits.nbd_connections"));
  }
  return std::make_unique<block::LimitedDevice>(
      std::move(device), std::move(limiters), std::move(places), run_);
}

// What one client may see: names by LIST for viewers, all else for readers.
class EngineExports::Own final : public block::Exports {
 public:
  Own(EngineExports* all, block::Peer peer)
      : all_(*all), access_(*all->access_), peer_(std::move(peer)) {}

  absl::StatusOr<block::ExportPage> List(const std::string& from) override {
    auto page = all_.List(from);
    if (!page.ok()) return page.status();
    const access::Identity identity = Identity();
    std::erase_if(page->exports, [&](const block::ExportInfo& info) {
      return !May(identity, access::Right::kView, info.name);
    });
    return page;
  }

  absl::StatusOr<block::ExportInfo> Find(std::string_view name) override {
    const access::Identity identity = Identity();
    absl::Status status = MayRead(identity, std::string(name));
    if (!status.ok()) {
      Note(identity, "info", name, status);
      return status;
    }
    auto info = all_.Find(name);
    if (!info.ok()) return info.status();
    info->read_only =
        info->read_only || !May(identity, access::Right::kWrite, info->name);
    return info;
  }

  absl::StatusOr<std::vector<std::string>> ListSnapshots(std::string_view name,
                                                         size_t max) override {
    const access::Identity identity = Identity();
    const absl::Status status = MayRead(identity, std::string(name));
    if (!status.ok()) return status;
    auto names = all_.ListSnapshots(name, max);
    if (!names.ok()) return names.status();
    std::erase_if(*names, [&](const std::string& snapshot) {
      return !May(identity, access::Right::kRead, absl::StrCat("@", snapshot));
    });
    return names;
  }

  absl::StatusOr<std::unique_ptr<block::BlockDevice>> Open(
      std::string_view name, std::string_view client) override {
    const access::Identity identity = Identity();
    auto device = OpenAs(identity, std::string(name), client);
    Note(identity, "open", name, device.status());
    return device;
  }

 private:
  access::Identity Identity() const {
    access::Identity identity{.names =
                                  access::NamesOf(PeerOfUnixSocket(peer_.fd))};
    if (peer_.proven != nullptr) {
      for (std::string& name : access::NamesOf(peer_.proven())) {
        identity.names.push_back(std::move(name));
      }
    }
    return identity;
  }

  bool May(const access::Identity& identity, access::Right right,
           std::string_view name) const {
    return access_.Decide(identity, right, name) == access::Decision::kAllowed;
  }

  // A stranger learns nothing, not even that there are volumes.
  absl::Status MayRead(const access::Identity& identity,
                       const std::string& name) const {
    static constexpr service::Need kNeed = {"", access::Right::kRead,
                                            service::Names::kVolume,
                                            service::Absent::kEngine};
    const absl::Status status = access_.CheckName(identity, kNeed, name);
    const bool hidden =
        absl::IsNotFound(status) || absl::IsUnauthenticated(status);
    return hidden ? engine::Engine::NotFound(name) : status;
  }

  absl::StatusOr<std::unique_ptr<block::BlockDevice>> OpenAs(
      const access::Identity& identity, const std::string& name,
      std::string_view client) {
    const absl::Status status = MayRead(identity, name);
    if (!status.ok()) return status;
    auto volume = all_.engine_.Find(name);
    if (!volume.ok()) return volume.status();
    EngineDevice::Rights rights;
    rights.buffers = all_.buffers();
    rights.may_write = May(identity, access::Right::kWrite, name);
    rights.may_read = [&access = access_, identity](const std::string& since) {
      return access.CheckSince(identity, since);
    };
    const access::Right right =
        rights.may_write ? access::Right::kWrite : access::Right::kRead;
    // Whoever refers to a volume keeps it from expiring.
    rights.session = access_.sessions().Add(
        {[&access = access_, identity, right,
          weak = std::weak_ptr<engine::Volume>(*volume)] {
           const auto open = weak.lock();
           return open == nullptr ||
                  access.Decide(identity, right, open->name()) ==
                      access::Decision::kAllowed;
         },
         [end = peer_.end, identity, right, name, client = peer_.address,
          over = all_.options_.over] {
           const absl::Status why = access::DeniedError(identity, right, name);
           LogEvent(Event::kConnectionEnded,
                    {.volume = name,
                     .client = client,
                     .over = over,
                     .reason = reason::kPermissionDenied,
                     .message = std::string(why.message())});
           if (end != nullptr) end();
         }});
    const auto limiter = (*volume)->limiter();
    auto attachment = engine::Attachment::Make(
        *std::move(volume), {all_.options_.over, std::string(client)});
    if (!attachment.ok()) return attachment.status();
    return all_.Limit(
        access_.LimiterOf(identity), limiter, name,
        std::make_unique<EngineDevice>(all_.engine_, *std::move(attachment),
                                       std::move(rights)));
  }

  void Note(const access::Identity& identity, const char* call,
            std::string_view name, const absl::Status& result) const {
    const std::string full_call = absl::StrCat(all_.options_.over, ".", call);
    access_.Note({.identity = &identity,
                  .peer = peer_.address,
                  .call = full_call,
                  .volumes = {std::string(name)},
                  .result = result});
  }

  EngineExports& all_;
  const service::CallAccess& access_;
  const block::Peer peer_;
};

std::unique_ptr<block::Exports> EngineExports::For(block::Peer peer) {
  if (access_ == nullptr || !access_->on()) return nullptr;
  return std::make_unique<Own>(this, std::move(peer));
}

}  // namespace ramvol::server
