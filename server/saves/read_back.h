// Reads the images of a save while their volumes are in use.
#ifndef RAMVOL_SERVER_SAVES_READ_BACK_H_
#define RAMVOL_SERVER_SAVES_READ_BACK_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/engine/engine.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/types/outside_source.h"
#include "server/saves/directory.h"
#include "server/saves/save_writer.h"
#include "server/saves/saved_image.h"

namespace ramvol::saves {

// One save, of which SaveReader has made all volumes: their content is outside
// (engine::Outside). Images are numbered by their places in the manifest.
//
// A chunk is read when somebody asks for it. Run reads each image from its
// first byte to its last, which checks its digest, and puts in what is still
// outside; then what it did not find that way: of volumes that were deleted
// while clones have their content. Thread-safe; one thread may call Run.
//
// With a state_dir, what is outside stays so when the server ends before all is
// read. The next one makes a ReadBack of the same save, of what there is now of
// its volumes, and goes on.
class ReadBack final : public engine::OutsideSource {
 public:
  // By their places in the manifest; nullptr: there is none.
  using Volumes = std::vector<std::shared_ptr<engine::Volume>>;

  // `whole`: all images are there. Else the next server is to look again.
  ReadBack(Directory dir, state::v1::SaveManifest manifest,
           std::vector<SavedImage> images, Volumes volumes, bool whole);

  // Everything is outside from now on. RESOURCE_EXHAUSTED when `content_bytes`
  // do not fit.
  static absl::Status Begin(const std::shared_ptr<ReadBack>& reading,
                            engine::Engine* engine, uint64_t content_bytes,
                            uint64_t save_id);
  // The same for what is outside in the engine's state_dir.
  static void Resume(const std::shared_ptr<ReadBack>& reading,
                     engine::Engine* engine);
  // Returns the volumes of which something could not be read, unless go_on()
  // was false.
  std::vector<LeftOut> Run(engine::Engine* engine,
                           const std::function<bool()>& go_on);

  absl::Status Read(uint32_t image, uint64_t chunk,
                    engine::EncodedChunk* out) override;

  // Of the files.
  uint64_t bytes() const { return bytes_; }
  uint64_t left_bytes() const {
    return left_bytes_.load(std::memory_order_relaxed);
  }
  // Of the image of the volume that had this uid, and of those that it lies on;
  // 0 when there is none.
  uint64_t LeftOf(uint64_t uid) const;

 private:
  // The volumes on whose images others lie, by the numbers of these.
  Volumes Below() const;
  // The image is to be read from end to end.
  void Want(size_t image);
  // Reads one image. The errors say why it is damaged; CANCELLED.
  absl::Status Sweep(uint32_t image, const std::function<bool()>& go_on);

  const Directory dir_;
  const state::v1::SaveManifest manifest_;
  const std::vector<SavedImage> images_;
  Volumes volumes_;
  const bool whole_;
  // By images: to be read from end to end.
  std::vector<bool> wanted_;
  uint64_t bytes_ = 0;
  std::atomic<uint64_t> left_bytes_{0};
  std::unique_ptr<std::atomic<uint64_t>[]> left_;  // By images.
};

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_READ_BACK_H_
