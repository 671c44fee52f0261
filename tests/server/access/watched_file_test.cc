#include "server/access/watched_file.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace ramvol::access {
namespace {

std::string NewDir(const std::string& name) {
  const std::string dir = ::testing::TempDir() + "/" + name;
  std::filesystem::create_directories(dir);
  return dir;
}

std::string ReadOf(WatchedFile& file) {
  const auto text = file.ReadIfChanged();
  if (!text.has_value()) return "(same)";
  return text->ok() ? **text : "(error)";
}

TEST(WatchedFileTest, ReadsOnceForEachChange) {
  const std::string path = NewDir("once") + "/file";
  std::ofstream(path) << "one";
  WatchedFile file(path);
  EXPECT_EQ(ReadOf(file), "one");
  EXPECT_EQ(ReadOf(file), "(same)");
  std::ofstream(path) << "two!";
  EXPECT_EQ(ReadOf(file), "two!");
  std::ofstream(path + ".new") << "3333";
  std::rename((path + ".new").c_str(), path.c_str());
  EXPECT_EQ(ReadOf(file), "3333");
  EXPECT_EQ(ReadOf(file), "(same)");
}

TEST(WatchedFileTest, SaysOnceThatItIsGone) {
  const std::string path = NewDir("gone") + "/file";
  std::ofstream(path) << "one";
  WatchedFile file(path);
  EXPECT_EQ(ReadOf(file), "one");
  unlink(path.c_str());
  EXPECT_EQ(ReadOf(file), "(error)");
  EXPECT_EQ(ReadOf(file), "(same)");
  std::ofstream(path) << "one";
  EXPECT_EQ(ReadOf(file), "one");
}

// As the kubelet does it: file -> ..data/file, ..data -> a directory.
TEST(WatchedFileTest, NoticesLinksThatAreExchanged) {
  const std::string dir = NewDir("links");
  for (const char* version : {"v1", "v2"}) {
    std::filesystem::create_directories(dir + "/" + version);
    std::ofstream(dir + "/" + version + "/file") << version;
  }
  std::filesystem::create_symlink("v1", dir + "/..data");
  std::filesystem::create_symlink("..data/file", dir + "/file");
  WatchedFile file(dir + "/file");
  EXPECT_EQ(ReadOf(file), "v1");
  EXPECT_EQ(ReadOf(file), "(same)");
  std::filesystem::create_symlink("v2", dir + "/..data_tmp");
  std::filesystem::rename(dir + "/..data_tmp", dir + "/..data");
  EXPECT_EQ(ReadOf(file), "v2");
}

TEST(WatchedFileTest, BoundsItsSize) {
  const std::string path = NewDir("large") + "/file";
  std::ofstream(path) << std::string(WatchedFile::kMaxBytes + 1, 'a');
  WatchedFile file(path);
  EXPECT_EQ(ReadOf(file), "(error)");
}

}  // namespace
}  // namespace ramvol::access
