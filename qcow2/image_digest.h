// The checksum over all that an image of ramvol holds.
#ifndef RAMVOL_QCOW2_IMAGE_DIGEST_H_
#define RAMVOL_QCOW2_IMAGE_DIGEST_H_

#include <cstdint>
#include <memory>
#include <string_view>

namespace ramvol::qcow2 {

// Taken over the head, over each group's table, and over the checksum of each
// run of a cluster's content, in the order of the file. So what is verified is
// what the engine acknowledged, from when it was compressed on, and writing an
// image decompresses nothing. It finds accidents, not attacks. Not thread-safe.
class ImageDigest {
 public:
  ImageDigest();
  ~ImageDigest();

  ImageDigest(const ImageDigest&) = delete;
  ImageDigest& operator=(const ImageDigest&) = delete;

  void AddBytes(std::string_view bytes);
  // Bytes [offset, offset + length) of the disk, with the low 32 bits of their
  // XXH3-64.
  void AddRun(uint64_t offset, uint32_t length, uint32_t checksum);
  uint64_t Get() const;
  void Reset();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_IMAGE_DIGEST_H_
