// Creates a volume, writes to it, reads it back, and deletes it.
//
// Usage: quickstart [SERVER]
#include <cstdint>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/remote_volume.h"
#include "ramvol/v1/volume_service.pb.h"

absl::Status Run(const std::string& server) {
  const ramvol::Client client({.server = server});

  ramvol::v1::CreateVolumeRequest create;
  create.set_name("quickstart");
  create.set_size_bytes(int64_t{1} << 30);
  absl::Status status = client.CreateVolume(create).status();
  if (!status.ok()) return status;

  {
    absl::StatusOr<ramvol::RemoteVolume> volume = client.Open("quickstart");
    if (!volume.ok()) return volume.status();
    status = volume->Write(4096, "hello, RAM");
    if (!status.ok()) return status;
    absl::StatusOr<std::string> back = volume->Read(4096, 10);
    if (!back.ok()) return back.status();
    std::cout << "read back: " << *back << "\n";
  }  // Closes the volume: DeleteVolume refuses to delete an open one.

  absl::StatusOr<ramvol::v1::VolumeStats> stats =
      client.StatVolume("quickstart");
  if (!stats.ok()) return stats.status();
  std::cout << "of " << stats->size_bytes() << " bytes, "
            << stats->logical_bytes() << " hold data, in "
            << stats->memory_bytes() << " bytes of memory\n";

  ramvol::v1::DeleteVolumeRequest remove;
  remove.set_name("quickstart");
  return client.DeleteVolume(remove);
}

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "127.0.0.1:7420");
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
