#include "qcow2/image_digest.h"

#include <array>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ramvol::qcow2 {

struct ImageDigest::State {
  XXH3_state_t xxh;
};

ImageDigest::ImageDigest() : state_(std::make_unique<State>()) { Reset(); }
ImageDigest::~ImageDigest() = default;

void ImageDigest::Reset() { (void)XXH3_64bits_reset(&state_->xxh); }

void ImageDigest::AddBytes(std::string_view bytes) {
  (void)XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}

void ImageDigest::AddRun(uint64_t offset, uint32_t length, uint32_t checksum) {
  std::array<char, 16> record;
  std::memcpy(record.data(), &offset, 8);
  std::memcpy(record.data() + 8, &length, 4);
  std::memcpy(record.data() + 12, &checksum, 4);
  AddBytes({record.data(), record.size()});
}

uint64_t ImageDigest::Get() const { return XXH3_64bits_digest(&state_->xxh); }

}  // namespace ramvol::qcow2
