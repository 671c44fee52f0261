#include "csi/node_cgroup.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "base/read_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ramvol::csi_driver {
namespace {

namespace fs = std::filesystem;

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TempDir;
using ::testing::HasSubstr;

// Folders and files in place of /proc and of the kernel's cgroups.
class NodeCgroupTest : public ::testing::Test {
 protected:
  NodeCgroupTest() {
    for (const char* folder : {"/1/root", "/self/root", "/1/ns", "/self/ns"}) {
      fs::create_directories(proc() + folder);
    }
    // The same namespace: only root may enter another one.
    std::ofstream(proc() + "/1/ns/cgroup");
    fs::create_hard_link(proc() + "/1/ns/cgroup", proc() + "/self/ns/cgroup");
  }

  // A file system that the node has mounted.
  void Mount(const std::string& type, const std::string& target) {
    std::ofstream(proc() + "/1/mountinfo", std::ios::app)
        << "31 23 0:28 / " << target << " rw,relatime - " << type
        << " none rw\n";
    fs::create_directories(PathOf(target));
  }
  // The kernel makes them, with their folder.
  void MakeProcs(const std::string& folder) {
    fs::create_directories(PathOf(folder));
    std::ofstream(PathOf(folder) + "/cgroup.procs");
  }
  std::string Procs(const std::string& folder) const {
    return ReadFile(PathOf(folder) + "/cgroup.procs").value_or("none");
  }
  std::string PathOf(const std::string& path) const {
    return proc() + "/1/root" + path;
  }
  const std::string& proc() const { return proc_.path(); }

 private:
  const TempDir proc_;
};

TEST_F(NodeCgroupTest, AContainerHasAnotherRootThanTheNode) {
  EXPECT_TRUE(IsInContainerOfNode(proc()));
  fs::remove(proc() + "/self/root");
  fs::create_directory_symlink(proc() + "/1/root", proc() + "/self/root");
  EXPECT_FALSE(IsInContainerOfNode(proc()));
  // Not for everybody to see.
  fs::remove(proc() + "/1/root");
  EXPECT_FALSE(IsInContainerOfNode(proc()));
}

TEST_F(NodeCgroupTest, AFolderOfVersion2) {
  Mount("cgroup2", "/sys/fs/cgroup");
  MakeProcs("/sys/fs/cgroup");
  MakeProcs("/sys/fs/cgroup/ramvol-csi");
  EXPECT_THAT(CheckNodeCgroup(proc()), IsOk());
  EXPECT_EQ(Procs("/sys/fs/cgroup/ramvol-csi"), "");
  EXPECT_THAT(EnterNodeCgroup(proc()), IsOk());
  EXPECT_EQ(Procs("/sys/fs/cgroup/ramvol-csi"), "0");
  EXPECT_EQ(Procs("/sys/fs/cgroup"), "");
}

TEST_F(NodeCgroupTest, TheFolderIsMade) {
  Mount("cgroup2", "/sys/fs/cgroup");
  // Here nobody fills it.
  EXPECT_THAT(
      CheckNodeCgroup(proc()),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("/sys/fs/cgroup/ramvol-csi/cgroup.procs: No")));
  EXPECT_TRUE(fs::is_directory(PathOf("/sys/fs/cgroup/ramvol-csi")));
}

TEST_F(NodeCgroupTest, TheRootsOfVersion1AndAllThatIsBeside) {
  Mount("tmpfs", "/sys/fs/cgroup");
  Mount("cgroup", "/sys/fs/cgroup/cpu,cpuacct");
  Mount("cgroup", "/sys/fs/cgroup/devices");
  Mount("cgroup2", "/sys/fs/cgroup/unified");
  MakeProcs("/sys/fs/cgroup/cpu,cpuacct");
  MakeProcs("/sys/fs/cgroup/devices");
  MakeProcs("/sys/fs/cgroup/unified/ramvol-csi");
  // Of a container that is a node itself.
  Mount("cgroup", "/var/lib/node/sys/fs/cgroup/devices");
  EXPECT_THAT(EnterNodeCgroup(proc()), IsOk());
  EXPECT_EQ(Procs("/sys/fs/cgroup/cpu,cpuacct"), "0");
  EXPECT_EQ(Procs("/sys/fs/cgroup/devices"), "0");
  EXPECT_EQ(Procs("/sys/fs/cgroup/unified/ramvol-csi"), "0");
}

TEST_F(NodeCgroupTest, SaysWhatIsInTheWay) {
  EXPECT_THAT(EnterNodeCgroup(proc()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("the node has no cgroups")));
  Mount("cgroup", "/sys/fs/cgroup/devices");
  for (const auto& enter : {CheckNodeCgroup, EnterNodeCgroup}) {
    EXPECT_THAT(enter(proc()),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("/sys/fs/cgroup/devices/cgroup.procs: No")));
  }
  fs::remove(proc() + "/self/ns/cgroup");
  std::ofstream(proc() + "/self/ns/cgroup");
  // What is no namespace cannot be entered.
  EXPECT_THAT(EnterNodeCgroup(proc()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("/1/ns/cgroup: ")));
}

}  // namespace
}  // namespace ramvol::csi_driver
