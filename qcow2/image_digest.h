// The checksum over all of an image of ramvol.
#ifndef RAMVOL_QCOW2_IMAGE_DIGEST_H_
#define RAMVOL_QCOW2_IMAGE_DIGEST_H_

#include <cstdint>
#include <memory>
#include <string_view>

namespace ramvol::qcow2 {

// XXH3-64 of all bytes before the trailer. It finds accidents, not attacks. Not
// thread-safe.
class ImageDigest {
 public:
  ImageDigest();
  ~ImageDigest();

  ImageDigest(const ImageDigest&) = delete;
  ImageDigest& operator=(const ImageDigest&) = delete;

  void Add(std::string_view bytes);
  uint64_t Get() const;
  void Reset();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_IMAGE_DIGEST_H_
