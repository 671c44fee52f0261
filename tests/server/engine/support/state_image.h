// A memory file as bytes: to keep one, to damage one, and to put it back.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_STATE_IMAGE_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_STATE_IMAGE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace ramvol::engine {

// What DIR/arena holds: its size, and those pages that are no holes.
struct StateImage {
  static constexpr uint64_t kPageBytes = 4096;

  struct Page {
    uint64_t offset = 0;
    std::string bytes;

    friend bool operator==(const Page&, const Page&) = default;
  };

  // Of the file below `dir`; empty when a process was killed before it made
  // one, which an engine takes for the same. Ends the process when it cannot be
  // read.
  static StateImage Of(const std::string& dir);
  // Of what Compressed returned.
  static StateImage FromCompressed(const std::string& compressed);
  std::string Compressed() const;
  // Makes the file below `dir`, in the place of one that there may be.
  void PutInto(const std::string& dir) const;

  friend bool operator==(const StateImage&, const StateImage&) = default;

  uint64_t file_bytes = 0;
  std::vector<Page> pages;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_STATE_IMAGE_H_
