// Damage to a memory file, for tests of what comes of it.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_DAMAGE_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_DAMAGE_H_

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace ramvol::engine {

// Makes the content of all volumes and snapshots of `size_bytes` unreachable
// that hold anything, in the memory file below `dir`, which no engine uses.
// Returns how many. Finds them by the size, so take one that occurs nowhere
// else.
inline int DamageContent(const std::string& dir, uint64_t size_bytes) {
  // As in Top: the root, and the size.
  constexpr uint64_t kNoNode = 0x1230;
  constexpr size_t kPageBytes = 4096;
  std::array<uint64_t, kPageBytes / sizeof(uint64_t)> page;
  const int file = open((dir + "/arena").c_str(), O_RDWR | O_CLOEXEC);
  int damaged = 0;
  off_t at = 0;
  while ((at = lseek(file, at, SEEK_DATA)) >= 0) {
    if (pread(file, page.data(), kPageBytes, at) != kPageBytes) break;
    for (size_t i = 1; i < page.size(); ++i) {
      if (page[i] != size_bytes || page[i - 1] == 0) continue;
      const off_t root = at + static_cast<off_t>((i - 1) * sizeof(uint64_t));
      if (pwrite(file, &kNoNode, sizeof(kNoNode), root) > 0) ++damaged;
    }
    at += kPageBytes;
  }
  close(file);
  return damaged;
}

// Makes one leaf unreachable that lies below an inner node for chunks from
// `first_chunk` on. Returns in how many nodes it did; finds them by this
// number.
inline int DamageIndex(const std::string& dir, uint64_t first_chunk) {
  constexpr uint64_t kNoNode = 0x1230;
  constexpr size_t kPageBytes = 4096;
  // As in Inner: the level before the number, children behind the layer.
  constexpr size_t kFirstChild = 3;
  std::array<uint64_t, kPageBytes / sizeof(uint64_t)> page;
  const int file = open((dir + "/arena").c_str(), O_RDWR | O_CLOEXEC);
  int damaged = 0;
  off_t at = 0;
  while ((at = lseek(file, at, SEEK_DATA)) >= 0) {
    if (pread(file, page.data(), kPageBytes, at) != kPageBytes) break;
    for (size_t i = 1; i + kFirstChild < page.size(); ++i) {
      if (page[i] != first_chunk || (page[i - 1] & 0xffff'ffff) != 1) continue;
      const off_t child =
          at + static_cast<off_t>((i + kFirstChild) * sizeof(uint64_t));
      if (pwrite(file, &kNoNode, sizeof(kNoNode), child) > 0) ++damaged;
    }
    at += kPageBytes;
  }
  close(file);
  return damaged;
}

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_DAMAGE_H_
