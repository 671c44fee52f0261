// What a save consists of, and which image lies on which.
#ifndef RAMVOL_SERVER_SAVES_SAVE_PLAN_H_
#define RAMVOL_SERVER_SAVES_SAVE_PLAN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/engine/engine.h"

namespace ramvol::saves {

// A volume or snapshot that is to be saved.
struct Root {
  std::string name;  // With "@" for a snapshot.
  uint64_t uid = 0;
  uint64_t source_uid =
      0;  // What it was made from, which may be gone; 0: none.
  absl::Time created;
  engine::VolumeOptions options;
  std::string attributes;
  google::protobuf::Map<std::string, std::string> labels;
  // What has the content, which must not change: a snapshot, or a volume that
  // nobody writes to.
  std::shared_ptr<engine::Volume> content;
  // The root in the list on whose image this one's lies, before it; -1: none.
  int backing = -1;
};

// A root without content and backing. Reads the server's attributes of it for
// what it was made from.
Root Describe(const engine::NamedVolume& named);

// Puts roots into an order in which each comes after its backing, and chooses
// the backings, so that what roots share is in one image: each lies on the one
// from which it differs least, among a few that are nearest by what was made
// from what. Costs what these differ in.
absl::Status Plan(std::vector<Root>* roots);

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_SAVE_PLAN_H_
