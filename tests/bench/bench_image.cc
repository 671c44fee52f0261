#include "tests/bench/bench_image.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "server/engine/content/codec.h"
#include "server/engine/types/options.h"

namespace ramvol::bench {
namespace {

namespace fs = std::filesystem;
using engine::kBlockBytes;
using engine::kChunkBytes;

// Taken from each folder, in order of names.
constexpr const char* kFolders[] = {"/usr/bin", "/usr/lib", "/usr/include",
                                    "/usr/share"};
constexpr uint64_t kFolderBytes = 80 << 20;
constexpr uint64_t kMaxFileBytes = 16 << 20;
constexpr uint64_t kImageBytes = 512 << 20;
constexpr size_t kMinChunksBytes = 16 << 20;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s; name an image in RAMVOL_BENCH_IMAGE\n",
               what.c_str());
  std::exit(1);
}

// Regular files under `folder`, sorted, kFolderBytes of them.
std::vector<fs::path> ChooseFiles(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::recursive_directory_iterator entry(
      folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && entry != fs::recursive_directory_iterator();
       entry.increment(error)) {
    std::error_code ignored;
    if (!entry->is_symlink(ignored) && entry->is_regular_file(ignored)) {
      found.push_back(entry->path());
    }
  }
  std::sort(found.begin(), found.end());
  uint64_t bytes = 0;
  std::erase_if(found, [&bytes](const fs::path& path) {
    std::error_code failed;
    const uint64_t size = fs::file_size(path, failed);
    if (failed || size > kMaxFileBytes || bytes + size > kFolderBytes) {
      return true;
    }
    bytes += size;
    return false;
  });
  return found;
}

// Copies the files to `stage`, as mke2fs wants one folder.
void Stage(const fs::path& stage) {
  for (const char* folder : kFolders) {
    for (const fs::path& from : ChooseFiles(folder)) {
      const fs::path to = stage / from.relative_path();
      std::error_code ignored;  // A file that cannot be read is left out.
      fs::create_directories(to.parent_path(), ignored);
      fs::copy_file(from, to, ignored);
    }
  }
}

// False when there is no mke2fs, or it fails.
bool RunMke2fs(const fs::path& stage, const fs::path& image) {
  const std::string kib = std::to_string(kImageBytes / 1024) + "k";
  // Not in the PATH of an ordinary user.
  for (const char* program : {"/usr/sbin/mke2fs", "/sbin/mke2fs"}) {
    std::vector<std::string> words = {
        program,        "-q", "-F",   "-t",           "ext4", "-d",
        stage.string(), "-b", "4096", image.string(), kib};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t child;
    int status = 0;
    if (posix_spawn(&child, program, nullptr, nullptr, arguments.data(),
                    environ) != 0) {
      continue;
    }
    if (waitpid(child, &status, 0) == child && status == 0) return true;
  }
  return false;
}

void Concatenate(const fs::path& stage, const fs::path& image) {
  std::ofstream out(image, std::ios::binary | std::ios::trunc);
  for (const auto& entry : fs::recursive_directory_iterator(stage)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    out << file.rdbuf();
    out.clear();  // An empty file is no failure.
    const uint64_t end = static_cast<uint64_t>(out.tellp());
    out << std::string((kBlockBytes - end % kBlockBytes) % kBlockBytes, '\0');
  }
  if (!out.flush()) Fail("cannot write " + image.string());
}

void Make(const fs::path& image) {
  std::fprintf(stderr, "making %s\n", image.c_str());
  const std::string unfinished = image.string() + ".new";
  std::string stage = image.string() + ".XXXXXX";
  if (mkdtemp(stage.data()) == nullptr) Fail("cannot make a folder " + stage);
  Stage(stage);
  if (!RunMke2fs(stage, unfinished)) Concatenate(stage, unfinished);
  std::error_code error;
  fs::remove_all(stage, error);
  fs::rename(unfinished, image, error);
  if (error) Fail("cannot make " + image.string() + ": " + error.message());
}

bool HasZeroBlock(const char* chunk) {
  for (size_t at = 0; at < kChunkBytes; at += kBlockBytes) {
    if (engine::codec::SameFilledPattern(chunk + at) == 0) return true;
  }
  return false;
}

}  // namespace

std::string ImagePath() {
  if (const char* given = std::getenv("RAMVOL_BENCH_IMAGE")) return given;
  const char* const folder = std::getenv("TMPDIR");
  const fs::path image = fs::path(folder == nullptr ? "/tmp" : folder) /
                         ("ramvol-bench-" + std::to_string(getuid()) + ".img");
  if (!fs::exists(image)) Make(image);
  return image.string();
}

std::string ImageChunks(size_t max_bytes) {
  const std::string path = ImagePath();
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) Fail("cannot open " + path);
  std::string all;
  std::string chunk(kChunkBytes, '\0');
  for (uint64_t at = 0;; at += kChunkBytes) {
    const ssize_t got =
        pread(file, chunk.data(), kChunkBytes, static_cast<off_t>(at));
    if (got != static_cast<ssize_t>(kChunkBytes)) break;
    if (!HasZeroBlock(chunk.data())) all += chunk;
  }
  close(file);
  if (all.size() < kMinChunksBytes) Fail("too little data in " + path);
  // Every n-th chunk, so that all kinds of files are in it.
  const size_t chunks = all.size() / kChunkBytes;
  const size_t wanted = std::min(chunks, max_bytes / kChunkBytes);
  for (size_t i = 0; i < wanted; ++i) {
    all.replace(i * kChunkBytes, kChunkBytes, all,
                i * chunks / wanted * kChunkBytes, kChunkBytes);
  }
  all.resize(wanted * kChunkBytes);
  all.shrink_to_fit();
  return all;
}

}  // namespace ramvol::bench
