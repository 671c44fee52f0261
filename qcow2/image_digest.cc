#include "qcow2/image_digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ramvol::qcow2 {

struct ImageDigest::State {
  XXH3_state_t xxh;
};

ImageDigest::ImageDigest() : state_(std::make_unique<State>()) { Reset(); }
ImageDigest::~ImageDigest() = default;

void ImageDigest::Reset() { (void)XXH3_64bits_reset(&state_->xxh); }

void ImageDigest::Add(std::string_view bytes) {
  (void)XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}

uint64_t ImageDigest::Get() const { return XXH3_64bits_digest(&state_->xxh); }

}  // namespace ramvol::qcow2
