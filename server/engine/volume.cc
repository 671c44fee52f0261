#include "server/engine/volume.h"

#include <algorithm>
#include <utility>

#include "server/engine/volume/volume_core.h"

namespace ramvol::engine {

Volume::Volume(std::shared_ptr<VolumeCore> core) : core_(std::move(core)) {}
Volume::~Volume() = default;

absl::Status Volume::Read(uint64_t offset, absl::Span<char> out,
                          BufferOf whose) {
  return core_->Read(offset, out, whose);
}

absl::Status Volume::Write(uint64_t offset, absl::Span<const char> data,
                           BufferOf whose) {
  return core_->Write(offset, data, whose);
}

absl::Status Volume::Trim(uint64_t offset, uint64_t length) {
  return core_->Trim(offset, length);
}

absl::Status Volume::WriteZeroes(uint64_t offset, uint64_t length,
                                 bool no_hole) {
  return core_->WriteZeroes(offset, length, no_hole);
}

absl::Status Volume::Flush() { return core_->Flush(); }

absl::StatusOr<Extents> Volume::GetExtents(uint64_t offset, uint64_t length,
                                           size_t max_extents) {
  return core_->GetExtents(offset, length, std::max<size_t>(1, max_extents));
}

absl::StatusOr<Changes> Volume::GetChanges(const Volume& since, uint64_t offset,
                                           uint64_t length, size_t max_ranges) {
  return core_->GetChanges(*since.core_, offset, length,
                           std::max<size_t>(1, max_ranges));
}

std::optional<uint64_t> Volume::ListStored(
    uint64_t first, uint64_t last, size_t most,
    std::vector<StoredChunk>* found) const {
  return core_->ListStored(first, last, most, found);
}

absl::Status Volume::ReadEncoded(uint64_t chunk, EncodedForm form,
                                 EncodedChunk* out) {
  return core_->ReadEncoded(chunk, form, out);
}

absl::Status Volume::WriteEncoded(absl::Span<EncodedChunk> chunks) {
  return core_->WriteEncoded(chunks);
}

absl::Status Volume::AddOutside(uint32_t image,
                                absl::Span<const OutsideChunk> chunks) {
  return core_->AddOutside(image, chunks);
}

void Volume::PutOutside(uint32_t image, absl::Span<EncodedChunk> chunks) {
  core_->loader().Put(image, chunks);
}

bool Volume::AnyOutside() const { return core_->loader().AnyOutside(); }

absl::Status Volume::Update(const VolumeUpdate& update) {
  return core_->Update(update);
}

std::string Volume::name() const { return core_->name(); }
uint64_t Volume::uid() const { return core_->uid(); }
uint64_t Volume::size_bytes() const { return core_->size_bytes(); }
bool Volume::read_only() const { return core_->read_only(); }
bool Volume::is_snapshot() const { return core_->is_snapshot(); }
VolumeOptions Volume::options() const { return core_->options(); }
uint64_t Volume::OwnBytes() const { return core_->OwnBytes(); }
VolumeStats Volume::Stats() const {
  VolumeStats stats = core_->Stats();
  const UsageLimiter::Stats usage = limiter_->GetStats();
  stats.limits = usage.limits;
  stats.throttled_now = usage.waiting;
  stats.throttled_operations = usage.throttled_operations;
  stats.throttled_ns = usage.throttled_ns;
  return stats;
}
VolumeUse Volume::Use() const { return core_->Use(); }
absl::StatusOr<Holders::Id> Volume::Attach(Holder holder, bool if_unattached) {
  return core_->Attach(std::move(holder), if_unattached);
}
void Volume::Detach(Holders::Id id) { core_->Detach(id); }
const Holders& Volume::holders() const { return core_->holders(); }
absl::Status Volume::CheckUnattached() const {
  return core_->CheckUnattached();
}
std::string Volume::attributes() const { return core_->attributes(); }
void Volume::SetAttributes(std::string attributes) {
  core_->SetAttributes(std::move(attributes));
}
bool Volume::damaged() const { return core_->damaged(); }
Completeness Volume::completeness() const { return core_->completeness(); }
void Volume::set_completeness(Completeness value) {
  core_->set_completeness(value);
}
bool Volume::CorruptForTest(uint64_t offset) {
  return core_->CorruptForTest(offset);
}

}  // namespace ramvol::engine
