// Copies a file into a new volume with asynchronous writes, many at once, and
// reads it back to compare.
//
// Usage: copy_file FILE VOLUME [SERVER]
#include <array>
#include <cstdint>
#include <fstream>
#include <future>
#include <iostream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/remote_volume.h"
#include "ramvol/v1/volume_service.pb.h"

namespace {

constexpr int64_t kPieceBytes = int64_t{256} << 10;
constexpr size_t kPieces = 16;  // How many writes are under way at a time.

// A buffer, and the write of its data.
struct Piece {
  absl::Status Wait() {
    return result.valid() ? result.get() : absl::OkStatus();
  }

  std::string data;
  std::future<absl::Status> result;
};

void StartWrite(const ramvol::RemoteVolume& volume, int64_t offset,
                Piece& piece) {
  auto promise = std::make_shared<std::promise<absl::Status>>();
  piece.result = promise->get_future();
  volume.WriteAsync(offset, piece.data, [promise](absl::Status status) {
    promise->set_value(status);
  });
}

// Fills `data` with the file's next bytes. Empty at the end of the file.
void ReadPiece(std::ifstream& file, std::string& data) {
  data.resize(kPieceBytes);
  file.read(data.data(), kPieceBytes);
  data.resize(file.gcount());
}

absl::Status Upload(std::ifstream& file, const ramvol::RemoteVolume& volume) {
  std::array<Piece, kPieces> pieces;
  absl::Status first_error;
  int64_t offset = 0;
  for (size_t i = 0; first_error.ok(); i = (i + 1) % kPieces) {
    // The oldest write must end before its buffer is filled again.
    first_error.Update(pieces[i].Wait());
    ReadPiece(file, pieces[i].data);
    if (pieces[i].data.empty()) break;
    StartWrite(volume, offset, pieces[i]);
    offset += pieces[i].data.size();
  }
  for (Piece& piece : pieces) first_error.Update(piece.Wait());
  return first_error;
}

absl::Status Verify(std::ifstream& file, const ramvol::RemoteVolume& volume) {
  std::string piece;
  int64_t offset = 0;
  for (ReadPiece(file, piece); !piece.empty(); ReadPiece(file, piece)) {
    absl::StatusOr<std::string> stored = volume.Read(offset, piece.size());
    if (!stored.ok()) return stored.status();
    if (*stored != piece) return absl::DataLossError("the volume differs");
    offset += piece.size();
  }
  return absl::OkStatus();
}

absl::Status Run(const std::string& path, const std::string& name,
                 const std::string& server) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() <= 0) {
    return absl::NotFoundError("cannot read " + path + ", or it is empty");
  }
  const ramvol::Client client({.server = server});
  ramvol::v1::CreateVolumeRequest create;
  create.set_name(name);
  create.set_size_bytes(file.tellg());
  absl::Status status = client.CreateVolume(create).status();
  if (!status.ok()) return status;
  absl::StatusOr<ramvol::RemoteVolume> volume = client.Open(name);
  if (!volume.ok()) return volume.status();

  file.seekg(0);
  status = Upload(file, *volume);
  if (!status.ok()) return status;
  file.clear();
  file.seekg(0);
  return Verify(file, *volume);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: copy_file FILE VOLUME [SERVER]\n";
    return 2;
  }
  const absl::Status status =
      Run(argv[1], argv[2], argc > 3 ? argv[3] : "127.0.0.1:7420");
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
