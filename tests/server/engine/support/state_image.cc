#include "tests/server/engine/support/state_image.h"

#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace ramvol::engine {
namespace {

constexpr size_t kMaxImageBytes = 64 << 20;
constexpr int kLevel = 19;

std::string PathIn(const std::string& dir) { return dir + "/arena"; }

void Append(std::string* out, uint64_t number) {
  out->append(reinterpret_cast<const char*>(&number), sizeof(number));
}

uint64_t Take(const std::string& from, size_t* at) {
  uint64_t number = 0;
  RAMVOL_CHECK(*at + sizeof(number) <= from.size());
  std::memcpy(&number, from.data() + *at, sizeof(number));
  *at += sizeof(number);
  return number;
}

}  // namespace

StateImage StateImage::Of(const std::string& dir) {
  StateImage image;
  const int file = open(PathIn(dir).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return image;
  RAMVOL_CHECK(file >= 0);
  image.file_bytes = lseek(file, 0, SEEK_END);
  for (off_t at = lseek(file, 0, SEEK_DATA); at >= 0;
       at = lseek(file, at, SEEK_DATA)) {
    const off_t end = lseek(file, at, SEEK_HOLE);
    for (; at < end; at += kPageBytes) {
      Page page{static_cast<uint64_t>(at), std::string(kPageBytes, '\0')};
      RAMVOL_CHECK(pread(file, page.bytes.data(), kPageBytes, at) ==
                   kPageBytes);
      image.pages.push_back(std::move(page));
    }
  }
  close(file);
  return image;
}

StateImage StateImage::FromCompressed(const std::string& compressed) {
  std::string all(kMaxImageBytes, '\0');
  const size_t bytes = ZSTD_decompress(all.data(), all.size(),
                                       compressed.data(), compressed.size());
  RAMVOL_CHECK(ZSTD_isError(bytes) == 0);
  all.resize(bytes);
  StateImage image;
  size_t at = 0;
  image.file_bytes = Take(all, &at);
  image.pages.resize(Take(all, &at));
  for (Page& page : image.pages) page.offset = Take(all, &at);
  for (Page& page : image.pages) {
    page.bytes = all.substr(at, kPageBytes);
    RAMVOL_CHECK(page.bytes.size() == kPageBytes);
    at += kPageBytes;
  }
  return image;
}

std::string StateImage::Compressed() const {
  std::string all;
  Append(&all, file_bytes);
  Append(&all, pages.size());
  for (const Page& page : pages) Append(&all, page.offset);
  for (const Page& page : pages) all += page.bytes;
  std::string compressed(ZSTD_compressBound(all.size()), '\0');
  const size_t bytes = ZSTD_compress(compressed.data(), compressed.size(),
                                     all.data(), all.size(), kLevel);
  RAMVOL_CHECK(ZSTD_isError(bytes) == 0);
  compressed.resize(bytes);
  return compressed;
}

void StateImage::PutInto(const std::string& dir) const {
  const int file =
      open(PathIn(dir).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  RAMVOL_CHECK(file >= 0);
  RAMVOL_CHECK(ftruncate(file, static_cast<off_t>(file_bytes)) == 0);
  for (const Page& page : pages) {
    RAMVOL_CHECK(pwrite(file, page.bytes.data(), kPageBytes,
                        static_cast<off_t>(page.offset)) == kPageBytes);
  }
  close(file);
}

}  // namespace ramvol::engine
