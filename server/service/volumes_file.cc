#include "server/service/volumes_file.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "ramvol/v1/volumes_file.pb.h"
#include "server/service/snapshot_fields.h"

namespace ramvol::service {
namespace {

using google::protobuf::TextFormat;

// Protobuf counts lines and columns from 0, people from 1.
std::string Place(const std::string& path, int line, int column) {
  if (line < 0) return path;
  return absl::StrCat(path, ":", line + 1, ":", column + 1);
}

// Keeps the first error.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(const std::string& path) : path_(path) {}

  void AddError(int line, int column, const std::string& message) override {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(
        Place(path_, line, column), ": ", message,
        "; correct it (the fields are those of ramvol.v1.VolumesFile)"));
  }

  const absl::Status& status() const { return status_; }

 private:
  const std::string& path_;
  absl::Status status_;
};

// The text parser accepts strings that are not UTF-8. They would make every
// answer that contains them unparsable.
bool IsUtf8(const v1::CreateVolumeRequest& request) {
  return v1::CreateVolumeRequest().ParseFromString(request.SerializeAsString());
}

absl::Status CheckEntry(const VolumesFileEntry& entry) {
  if (entry.request.validate_only()) {
    return absl::InvalidArgumentError(absl::StrCat(
        entry.where,
        ": validate_only is true, which creates nothing; leave it out"));
  }
  if (!IsUtf8(entry.request)) {
    return absl::InvalidArgumentError(absl::StrCat(
        entry.where, ": a text in it is not UTF-8; write it in UTF-8"));
  }
  return absl::OkStatus();
}

absl::Status CheckNamesDiffer(const std::vector<VolumesFileEntry>& entries) {
  absl::flat_hash_map<std::string, const VolumesFileEntry*> by_name;
  for (const VolumesFileEntry& entry : entries) {
    const auto [it, is_new] = by_name.emplace(entry.request.name(), &entry);
    if (is_new) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        entry.where, ": its name is also that of ", it->second->where,
        "; give each volume a name of its own"));
  }
  return absl::OkStatus();
}

std::vector<VolumesFileEntry> MakeEntries(
    const std::string& path, v1::VolumesFile file,
    const TextFormat::ParseInfoTree& places) {
  const auto* field = v1::VolumesFile::descriptor()->FindFieldByNumber(
      v1::VolumesFile::kVolumesFieldNumber);
  std::vector<VolumesFileEntry> entries;
  for (int i = 0; i < file.volumes_size(); ++i) {
    const TextFormat::ParseLocation place = places.GetLocation(field, i);
    VolumesFileEntry& entry = entries.emplace_back();
    entry.request = std::move(*file.mutable_volumes(i));
    entry.where =
        absl::StrCat(Place(path, place.line, place.column), ": entry ", i + 1,
                     " (\"", entry.request.name(), "\")");
  }
  return entries;
}

}  // namespace

absl::StatusOr<std::vector<VolumesFileEntry>> ReadVolumesFile(
    const std::string& path) {
  if (path.empty()) return std::vector<VolumesFileEntry>();
  const auto text = ReadFile(path, kMaxVolumesFileBytes);
  if (!text.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--volumes_file: ", std::string(text.status().message())));
  }
  v1::VolumesFile file;
  FirstError error(path);
  TextFormat::ParseInfoTree places;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.WriteLocationsTo(&places);
  if (!parser.ParseFromString(*text, &file)) return error.status();
  auto entries = MakeEntries(path, std::move(file), places);
  for (const VolumesFileEntry& entry : entries) {
    absl::Status status = CheckEntry(entry);
    if (!status.ok()) return status;
  }
  absl::Status status = CheckNamesDiffer(entries);
  if (!status.ok()) return status;
  return entries;
}

absl::Status CreateVolumes(const std::vector<VolumesFileEntry>& entries,
                           Catalog* catalog) {
  for (const VolumesFileEntry& entry : entries) {
    const std::string& name = entry.request.name();
    if (!NamesSnapshot(name) && catalog->Get(name).ok()) continue;
    const absl::Status status = catalog->Create(entry.request).status();
    if (status.ok()) continue;
    return absl::Status(status.code(),
                        absl::StrCat(entry.where, ": ", status.message()));
  }
  return absl::OkStatus();
}

}  // namespace ramvol::service
