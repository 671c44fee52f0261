// Brings a copy of a volume up to date: takes a snapshot, copies what has
// changed since the one before, and deletes that one. The volume may be written
// to meanwhile.
//
// Usage: back_up VOLUME FILE [SERVER]
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/extent.h"
#include "client/remote_volume.h"
#include "ramvol/v1/volume_service.pb.h"

namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 20;

absl::Status Copy(const ramvol::RemoteVolume& from, int64_t offset,
                  int64_t length, std::fstream& to) {
  for (const int64_t end = offset + length; offset < end;) {
    const int64_t bytes = std::min(kPieceBytes, end - offset);
    absl::StatusOr<std::string> piece = from.Read(offset, bytes);
    if (!piece.ok()) return piece.status();
    to.seekp(offset);
    if (!to.write(piece->data(), bytes)) {
      return absl::UnavailableError("cannot write the file");
    }
    offset += bytes;
  }
  return absl::OkStatus();
}

// What to copy: all of it, if there is no snapshot `before`.
absl::StatusOr<std::vector<ramvol::ChangedExtent>> ToCopy(
    const ramvol::RemoteVolume& volume, const std::string& before) {
  if (!before.empty()) return volume.Changes("@" + before, 0, 0);
  return std::vector<ramvol::ChangedExtent>{
      {0, volume.size_bytes(), /*changed=*/true}};
}

absl::Status Run(const std::string& name, const std::string& path,
                 const std::string& server) {
  const ramvol::Client client({.server = server});
  // The last one is what the file holds, unless there is no file yet.
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  std::string before;
  if (file) {
    auto snapshots = client.ListSnapshots(name);
    if (!snapshots.ok()) return snapshots.status();
    if (!snapshots->empty()) before = snapshots->back().name();
  } else {
    file.open(path, std::ios::binary | std::ios::out);
  }
  ramvol::v1::CreateSnapshotRequest request;
  request.set_volume(name);  // The server chooses a name with the time.
  auto snapshot = client.CreateSnapshot(request);
  if (!snapshot.ok()) return snapshot.status();
  auto volume = client.Open("@" + snapshot->name());
  if (!volume.ok()) return volume.status();
  auto extents = ToCopy(*volume, before);
  if (!extents.ok()) return extents.status();
  for (const ramvol::ChangedExtent& extent : *extents) {
    if (!extent.changed) continue;
    absl::Status copied = Copy(*volume, extent.offset, extent.length, file);
    if (!copied.ok()) return copied;
  }
  if (!file.flush()) return absl::UnavailableError("cannot write the file");
  if (before.empty()) return absl::OkStatus();
  ramvol::v1::DeleteSnapshotRequest remove;
  remove.set_name(before);
  return client.DeleteSnapshot(remove);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: back_up VOLUME FILE [SERVER]\n";
    return 2;
  }
  const absl::Status status =
      Run(argv[1], argv[2], argc > 3 ? argv[3] : "127.0.0.1:7420");
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
