// VolumeService, by RPC against a whole server.
#include "server/service/volume_service.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "base/version.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TestServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using Stub = v1::VolumeService::Stub;

class VolumeServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Volume> Create(const v1::CreateVolumeRequest& request) {
    auto response =
        TestServer::Call(&Stub::CreateVolume, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->volume();
  }
  absl::StatusOr<v1::Volume> Get(const std::string& name) {
    v1::GetVolumeRequest request;
    request.set_name(name);
    auto response =
        TestServer::Call(&Stub::GetVolume, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->volume();
  }
  absl::StatusOr<v1::Volume> Update(const v1::UpdateVolumeRequest& request) {
    auto response =
        TestServer::Call(&Stub::UpdateVolume, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->volume();
  }
  absl::StatusOr<v1::Volume> Rename(const v1::RenameVolumeRequest& request) {
    auto response =
        TestServer::Call(&Stub::RenameVolume, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->volume();
  }
  absl::Status Delete(const v1::DeleteVolumeRequest& request) {
    return TestServer::Call(&Stub::DeleteVolume, server_.volumes(), request)
        .status();
  }
  absl::StatusOr<v1::ListVolumesResponse> List(int32_t page_size,
                                               const std::string& token) {
    v1::ListVolumesRequest request;
    request.set_page_size(page_size);
    request.set_page_token(token);
    return TestServer::Call(&Stub::ListVolumes, server_.volumes(), request);
  }

  TestServer server_;
};

v1::CreateVolumeRequest CreateRequest(const std::string& name = "disk",
                                      int64_t size_bytes = 1 << 20) {
  v1::CreateVolumeRequest request;
  request.set_name(name);
  request.set_size_bytes(size_bytes);
  return request;
}

TEST_F(VolumeServiceTest, CreateFillsInTheDefaults) {
  auto volume = Create(CreateRequest());
  ASSERT_THAT(volume, IsOk());
  EXPECT_EQ(volume->name(), "disk");
  EXPECT_EQ(volume->size_bytes(), 1 << 20);
  EXPECT_EQ(volume->allocator(), v1::ALLOCATOR_ZSTD);
  EXPECT_EQ(volume->min_frame_bytes(), 4096);
  EXPECT_EQ(volume->max_frame_bytes(), 65536);
  EXPECT_EQ(volume->zstd_level(), 1);
  EXPECT_EQ(volume->merge_zstd_level(), 8);
  EXPECT_EQ(volume->memory_limit_bytes(), 0);
  EXPECT_FALSE(volume->read_only());
  EXPECT_FALSE(volume->etag().empty());
  EXPECT_EQ(volume->uid().size(), 16);
  EXPECT_GT(volume->create_time().seconds(), 0);
  EXPECT_EQ(volume->create_time().seconds(), volume->update_time().seconds());
}

TEST_F(VolumeServiceTest, CreateKeepsWhatWasAskedFor) {
  v1::CreateVolumeRequest request =
      CreateRequest("x", std::numeric_limits<int64_t>::max());
  request.set_allocator(v1::ALLOCATOR_SPARSE);
  request.set_min_frame_bytes(16384);
  request.set_max_frame_bytes(16384);
  request.set_zstd_level(-50);
  request.set_merge_zstd_level(19);
  request.set_memory_limit_bytes(1 << 20);
  request.set_read_only(true);
  (*request.mutable_labels())["team"] = "storage";
  ASSERT_THAT(Create(request), IsOk());
  auto volume = Get("x");
  ASSERT_THAT(volume, IsOk());
  EXPECT_EQ(volume->size_bytes(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(volume->allocator(), v1::ALLOCATOR_SPARSE);
  EXPECT_EQ(volume->min_frame_bytes(), 16384);
  EXPECT_EQ(volume->max_frame_bytes(), 16384);
  EXPECT_EQ(volume->zstd_level(), -50);
  EXPECT_EQ(volume->merge_zstd_level(), 19);
  EXPECT_EQ(volume->memory_limit_bytes(), 1 << 20);
  EXPECT_TRUE(volume->read_only());
  EXPECT_THAT(volume->labels(), ElementsAre(Pair("team", "storage")));
}

// What has to be wrong with a request for one field to be named.
struct BadField {
  const char* field;
  void (*spoil)(v1::CreateVolumeRequest*);
  const char* message;
};

class BadCreateTest : public VolumeServiceTest,
                      public ::testing::WithParamInterface<BadField> {};

TEST_P(BadCreateTest, NamesTheField) {
  v1::CreateVolumeRequest request = CreateRequest();
  GetParam().spoil(&request);
  auto volume = Create(request);
  EXPECT_THAT(volume, IsInvalidField(GetParam().field));
  EXPECT_THAT(volume, StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr(GetParam().message)));
  EXPECT_THAT(List(0, "")->volumes(), IsEmpty());
}

using Request = v1::CreateVolumeRequest;
const BadField kBadFields[] = {
    {"name", [](Request* r) { r->clear_name(); }, "name"},
    {"name", [](Request* r) { r->set_name("Disk"); }, "Disk"},
    {"name", [](Request* r) { r->set_name("-a"); }, "-a"},
    {"name", [](Request* r) { r->set_name(std::string(64, 'a')); }, "63"},
    {"size_bytes", [](Request* r) { r->set_size_bytes(0); }, "is 0"},
    {"size_bytes", [](Request* r) { r->set_size_bytes(-1); }, "is -1"},
    {"allocator", [](Request* r) { r->set_allocator(v1::Allocator(9)); },
     "is 9"},
    {"min_frame_bytes", [](Request* r) { r->set_min_frame_bytes(5000); },
     "5000"},
    {"min_frame_bytes", [](Request* r) { r->set_min_frame_bytes(-4096); },
     "-4096"},
    {"max_frame_bytes", [](Request* r) { r->set_max_frame_bytes(1 << 17); },
     "131072"},
    {"min_frame_bytes",
     [](Request* r) {
       r->set_min_frame_bytes(65536);
       r->set_max_frame_bytes(4096);
     },
     "more than max_frame_bytes"},
    {"zstd_level", [](Request* r) { r->set_zstd_level(20); }, "20"},
    {"merge_zstd_level", [](Request* r) { r->set_merge_zstd_level(-51); },
     "-51"},
    {"memory_limit_bytes", [](Request* r) { r->set_memory_limit_bytes(-7); },
     "-7"},
    {"memory_limit_bytes",
     [](Request* r) {
       r->set_allocator(v1::ALLOCATOR_MALLOC);
       r->set_memory_limit_bytes(1 << 20);
     },
     "ALLOCATOR_MALLOC"},
    {"labels", [](Request* r) { (*r->mutable_labels())["A b"] = ""; }, "A b"},
    {"labels",
     [](Request* r) { (*r->mutable_labels())["a"] = std::string(257, 'x'); },
     "257"},
    {"labels",
     [](Request* r) {
       for (int i = 0; i < 65; ++i) {
         (*r->mutable_labels())[absl::StrCat("k", i)] = "";
       }
     },
     "65"},
    {"request_id", [](Request* r) { r->set_request_id(std::string(129, 'x')); },
     "129"},
};
INSTANTIATE_TEST_SUITE_P(Fields, BadCreateTest,
                         ::testing::ValuesIn(kBadFields));

TEST_F(VolumeServiceTest, CreateOfATakenNameFails) {
  ASSERT_THAT(Create(CreateRequest()), IsOk());
  EXPECT_THAT(
      Create(CreateRequest()),
      HasReason(absl::StatusCode::kAlreadyExists, reason::kVolumeExists));
}

TEST_F(VolumeServiceTest, RepeatedRequestIdAnswersAsTheFirst) {
  v1::CreateVolumeRequest request = CreateRequest();
  request.set_request_id("once");
  (*request.mutable_labels())["a"] = "b";
  auto first = Create(request);
  ASSERT_THAT(first, IsOk());

  v1::UpdateVolumeRequest update;
  update.set_name("disk");
  update.mutable_volume()->set_read_only(true);
  update.mutable_update_mask()->add_paths("read_only");
  ASSERT_THAT(Update(update), IsOk());

  auto second = Create(request);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->SerializeAsString(), first->SerializeAsString());
}

TEST_F(VolumeServiceTest, RequestIdWithOtherFieldsFails) {
  v1::CreateVolumeRequest request = CreateRequest();
  request.set_request_id("once");
  ASSERT_THAT(Create(request), IsOk());
  request.set_size_bytes(77);
  EXPECT_THAT(Create(request), HasReason(absl::StatusCode::kAlreadyExists,
                                         reason::kVolumeExists));
  // Also for another name.
  request.set_name("other");
  EXPECT_THAT(Create(request), StatusIs(absl::StatusCode::kAlreadyExists,
                                        HasSubstr("\"once\"")));
  EXPECT_THAT(Get("other"),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(VolumeServiceTest, RequestIdIsForgottenWithItsVolume) {
  v1::CreateVolumeRequest request = CreateRequest();
  request.set_request_id("once");
  auto first = Create(request);
  ASSERT_THAT(first, IsOk());
  v1::DeleteVolumeRequest remove;
  remove.set_name("disk");
  ASSERT_THAT(Delete(remove), IsOk());
  auto second = Create(request);
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(second->uid(), first->uid());
  EXPECT_NE(second->etag(), first->etag());
}

v1::RenameVolumeRequest RenameRequest(const std::string& name,
                                      const std::string& new_name,
                                      const std::string& id = "") {
  v1::RenameVolumeRequest request;
  request.set_name(name);
  request.set_new_name(new_name);
  request.set_request_id(id);
  return request;
}

TEST_F(VolumeServiceTest, RenameChangesNothingButNameAndEtag) {
  v1::CreateVolumeRequest create = CreateRequest();
  (*create.mutable_labels())["a"] = "b";
  auto before = Create(create);
  ASSERT_THAT(before, IsOk());
  auto after = Rename(RenameRequest("disk", "other"));
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->name(), "other");
  EXPECT_NE(after->etag(), before->etag());
  v1::Volume expected = *before;
  expected.set_name("other");
  expected.set_etag(after->etag());
  *expected.mutable_update_time() = after->update_time();
  EXPECT_EQ(after->DebugString(), expected.DebugString());
  EXPECT_EQ(Get("other")->DebugString(), expected.DebugString());
  EXPECT_THAT(Get("disk"),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
  // It can be changed, and the old name can be used.
  v1::UpdateVolumeRequest update;
  update.set_name("other");
  update.mutable_volume()->set_read_only(true);
  update.mutable_update_mask()->add_paths("read_only");
  ASSERT_THAT(Update(update), IsOk());
  EXPECT_EQ(Get("other")->name(), "other");
  ASSERT_THAT(Create(CreateRequest()), IsOk());
  EXPECT_EQ(List(10, "")->volumes_size(), 2);
}

TEST_F(VolumeServiceTest, RenameIsRefusedForOtherNamesAndEtags) {
  ASSERT_THAT(Create(CreateRequest("a")), IsOk());
  ASSERT_THAT(Create(CreateRequest("b")), IsOk());
  const absl::Status taken = Rename(RenameRequest("a", "b")).status();
  EXPECT_THAT(taken, HasReason(absl::StatusCode::kAlreadyExists,
                               reason::kVolumeExists));
  EXPECT_EQ(GetMetadata(taken).at("volume"), "b");
  EXPECT_THAT(
      Rename(RenameRequest("a", "a")),
      HasReason(absl::StatusCode::kAlreadyExists, reason::kVolumeExists));
  EXPECT_THAT(Rename(RenameRequest("a", "A")), IsInvalidField("new_name"));
  EXPECT_THAT(Rename(RenameRequest("a", "")), IsInvalidField("new_name"));
  EXPECT_THAT(Rename(RenameRequest("", "c")), IsInvalidField("name"));
  EXPECT_THAT(Rename(RenameRequest("c", "d")),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
  v1::RenameVolumeRequest request = RenameRequest("a", "c");
  request.set_etag("old");
  EXPECT_THAT(Rename(request),
              HasReason(absl::StatusCode::kAborted, reason::kEtagMismatch));
  request.set_etag(Get("a")->etag());
  EXPECT_THAT(Rename(request), IsOk());
}

TEST_F(VolumeServiceTest, ARepeatedRenameAnswersAsTheFirst) {
  ASSERT_THAT(Create(CreateRequest("a")), IsOk());
  auto first = Rename(RenameRequest("a", "b", "once"));
  ASSERT_THAT(first, IsOk());
  // There is another volume of the old name by now.
  ASSERT_THAT(Create(CreateRequest("a")), IsOk());
  auto second = Rename(RenameRequest("a", "b", "once"));
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->SerializeAsString(), first->SerializeAsString());
  EXPECT_THAT(
      Rename(RenameRequest("a", "c", "once")),
      HasReason(absl::StatusCode::kAlreadyExists, reason::kVolumeExists));
  // It is remembered until the next one.
  ASSERT_THAT(Rename(RenameRequest("b", "c")), IsOk());
  auto third = Rename(RenameRequest("a", "b", "once"));
  ASSERT_THAT(third, IsOk());
  EXPECT_NE(third->uid(), first->uid());
  v1::DeleteVolumeRequest remove;
  remove.set_name("b");
  ASSERT_THAT(Delete(remove), IsOk());
  EXPECT_THAT(Rename(RenameRequest("a", "b", "once")),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
}

TEST_F(VolumeServiceTest, VolumesTradeNamesWhileTheyAreListed) {
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_THAT(Create(CreateRequest(name)), IsOk());
  }
  std::atomic<bool> done{false};
  std::thread trader([&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_THAT(Rename(RenameRequest("a", "x")), IsOk());
      EXPECT_THAT(Rename(RenameRequest("c", "a")), IsOk());
      EXPECT_THAT(Rename(RenameRequest("x", "c")), IsOk());
    }
    done = true;
  });
  while (!done) {
    std::vector<std::string> names;
    std::string token;
    do {
      auto page = List(1, token);
      ASSERT_THAT(page, IsOk());
      for (const auto& volume : page->volumes()) names.push_back(volume.name());
      token = page->next_page_token();
    } while (!token.empty());
    EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(),
              names.size())
        << "a name was listed twice";
    EXPECT_EQ(std::count(names.begin(), names.end(), "b"), 1);
  }
  trader.join();
  EXPECT_EQ(List(10, "")->volumes_size(), 3);
}

TEST_F(VolumeServiceTest, ValidateOnlyCreatesNothing) {
  v1::CreateVolumeRequest request = CreateRequest();
  request.set_validate_only(true);
  auto volume = Create(request);
  ASSERT_THAT(volume, IsOk());
  EXPECT_EQ(volume->zstd_level(), 1);
  EXPECT_EQ(volume->uid(), "");
  EXPECT_THAT(Get("disk"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));

  ASSERT_THAT(Create(CreateRequest()), IsOk());
  EXPECT_THAT(Create(request), HasReason(absl::StatusCode::kAlreadyExists,
                                         reason::kVolumeExists));
  request.set_size_bytes(-1);
  EXPECT_THAT(Create(request), IsInvalidField("size_bytes"));
}

TEST_F(VolumeServiceTest, MallocBeyondTheLimitFails) {
  v1::CreateVolumeRequest request = CreateRequest("big", int64_t{1} << 40);
  request.set_allocator(v1::ALLOCATOR_MALLOC);
  EXPECT_THAT(Create(request), HasReason(absl::StatusCode::kResourceExhausted,
                                         reason::kServerMemoryLimit));
  EXPECT_THAT(Get("big"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(VolumeServiceTest, UnknownAndEmptyNames) {
  EXPECT_THAT(Get("nope"),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(Get("nope"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"nope\"")));
  EXPECT_THAT(Get(""), IsInvalidField("name"));
  v1::StatVolumeRequest stat;
  stat.set_name("nope");
  EXPECT_THAT(TestServer::Call(&Stub::StatVolume, server_.volumes(), stat),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
  v1::DeleteVolumeRequest remove;
  remove.set_name("nope");
  EXPECT_THAT(Delete(remove),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
  v1::UpdateVolumeRequest update;
  update.set_name("nope");
  update.mutable_update_mask()->add_paths("read_only");
  EXPECT_THAT(Update(update),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
}

TEST_F(VolumeServiceTest, ListsInOrderPageByPage) {
  for (const char* name : {"c", "a", "b.1", "b", "d"}) {
    server_.CreateVolume(name, 1);
  }
  std::vector<std::string> names;
  std::string token;
  int pages = 0;
  do {
    auto page = List(2, token);
    ASSERT_THAT(page, IsOk());
    EXPECT_LE(page->volumes_size(), 2);
    for (const auto& volume : page->volumes()) names.push_back(volume.name());
    token = page->next_page_token();
    ++pages;
  } while (!token.empty());
  EXPECT_THAT(names, ElementsAre("a", "b", "b.1", "c", "d"));
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(List(0, "")->volumes_size(), 5);
  EXPECT_EQ(List(5, "")->next_page_token(), "");
}

// A client with gRPC's default limits can take any page in.
TEST_F(VolumeServiceTest, ListKeepsPagesBelowFourMebibytes) {
  constexpr int kVolumes = 300;
  v1::CreateVolumeRequest request = CreateRequest();
  for (int i = 0; i < 64; ++i) {
    (*request.mutable_labels())[absl::StrCat("k", i)] = std::string(256, 'x');
  }
  for (int i = 0; i < kVolumes; ++i) {
    request.set_name(absl::StrCat("v", i));
    ASSERT_THAT(Create(request), IsOk());
  }
  int listed = 0;
  std::string token;
  do {
    auto page = List(1000, token);
    ASSERT_THAT(page, IsOk());
    EXPECT_LT(page->ByteSizeLong(), 4u << 20);
    listed += page->volumes_size();
    token = page->next_page_token();
  } while (!token.empty());
  EXPECT_EQ(listed, kVolumes);
}

TEST_F(VolumeServiceTest, ListGoesOnWhenTheLastOneListedIsGone) {
  for (const char* name : {"a", "b", "c"}) server_.CreateVolume(name, 1);
  const std::string token = List(2, "")->next_page_token();
  v1::DeleteVolumeRequest remove;
  remove.set_name("b");
  ASSERT_THAT(Delete(remove), IsOk());
  auto page = List(2, token);
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->volumes_size(), 1);
  EXPECT_EQ(page->volumes(0).name(), "c");
}

TEST_F(VolumeServiceTest, ListRefusesForeignTokensAndNegativeSizes) {
  EXPECT_THAT(List(-1, ""), IsInvalidField("page_size"));
  for (const char* token : {"a", "!!", "MDAwMDAwMDBh", "2"}) {
    EXPECT_THAT(List(1, token), IsInvalidField("page_token")) << token;
  }
}

TEST_F(VolumeServiceTest, UpdateChangesWhatTheMaskNames) {
  v1::CreateVolumeRequest create = CreateRequest();
  (*create.mutable_labels())["old"] = "1";
  auto before = Create(create);
  ASSERT_THAT(before, IsOk());
  v1::UpdateVolumeRequest request;
  request.set_name("disk");
  request.set_etag(before->etag());
  request.mutable_volume()->set_size_bytes(12345);
  request.mutable_volume()->set_memory_limit_bytes(1 << 20);
  request.mutable_volume()->set_zstd_level(5);
  request.mutable_volume()->set_read_only(true);  // Not in the mask.
  (*request.mutable_volume()->mutable_labels())["new"] = "2";
  for (const char* path : {"size_bytes", "memory_limit_bytes", "labels",
                           "zstd_level", "merge_zstd_level"}) {
    request.mutable_update_mask()->add_paths(path);
  }
  auto after = Update(request);
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->size_bytes(), 12345);
  EXPECT_EQ(after->memory_limit_bytes(), 1 << 20);
  EXPECT_EQ(after->zstd_level(), 5);
  EXPECT_EQ(after->merge_zstd_level(), 8);  // 0 means the default.
  EXPECT_FALSE(after->read_only());
  EXPECT_THAT(after->labels(), ElementsAre(Pair("new", "2")));
  EXPECT_NE(after->etag(), before->etag());
  EXPECT_EQ(after->uid(), before->uid());
  EXPECT_EQ(Get("disk")->SerializeAsString(), after->SerializeAsString());
  // The etag that was given is the old one now.
  EXPECT_THAT(Update(request),
              HasReason(absl::StatusCode::kAborted, reason::kEtagMismatch));
}

TEST_F(VolumeServiceTest, BadUpdatesNameTheFieldAndChangeNothing) {
  auto before = Create(CreateRequest());
  ASSERT_THAT(before, IsOk());
  v1::UpdateVolumeRequest request;
  request.set_name("disk");
  EXPECT_THAT(Update(request), IsInvalidField("update_mask"));
  request.mutable_update_mask()->add_paths("read_only");
  request.mutable_volume()->set_read_only(true);
  for (const char* path : {"name", "uid", "allocator", "labels.a", "*", ""}) {
    v1::UpdateVolumeRequest bad = request;
    bad.mutable_update_mask()->add_paths(path);
    EXPECT_THAT(Update(bad), IsInvalidField("update_mask")) << path;
  }
  v1::UpdateVolumeRequest bad = request;
  bad.mutable_update_mask()->add_paths("size_bytes");
  bad.mutable_volume()->set_size_bytes(0);
  EXPECT_THAT(Update(bad), IsInvalidField("volume.size_bytes"));
  bad = request;
  bad.mutable_update_mask()->add_paths("zstd_level");
  bad.mutable_volume()->set_zstd_level(99);
  EXPECT_THAT(Update(bad), IsInvalidField("volume.zstd_level"));
  EXPECT_EQ(Get("disk")->SerializeAsString(), before->SerializeAsString());
}

TEST_F(VolumeServiceTest, DeleteChecksTheEtag) {
  ASSERT_THAT(Create(CreateRequest()), IsOk());
  v1::DeleteVolumeRequest request;
  request.set_name("disk");
  request.set_etag("stale");
  const absl::Status status = Delete(request);
  EXPECT_THAT(status,
              HasReason(absl::StatusCode::kAborted, reason::kEtagMismatch));
  EXPECT_EQ(GetMetadata(status).at("etag"), Get("disk")->etag());
  request.set_etag(Get("disk")->etag());
  EXPECT_THAT(Delete(request), IsOk());
  EXPECT_THAT(Get("disk"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(VolumeServiceTest, DeleteOfAnAttachedVolumeWantsForce) {
  ASSERT_THAT(Create(CreateRequest()), IsOk());
  grpc::ClientContext context;
  auto stream = server_.blocks().Io(&context);
  v1::IoRequest open;
  open.set_volume("disk");
  ASSERT_TRUE(stream->Write(open));
  v1::IoResponse opened;
  ASSERT_TRUE(stream->Read(&opened));
  EXPECT_EQ(server_.AttachedClients("disk"), 1);

  v1::DeleteVolumeRequest request;
  request.set_name("disk");
  EXPECT_THAT(Delete(request), HasReason(absl::StatusCode::kFailedPrecondition,
                                         reason::kVolumeAttached));
  EXPECT_THAT(Get("disk"), IsOk());
  request.set_force(true);
  EXPECT_THAT(Delete(request), IsOk());

  // The stream lives on, and its operations say what happened.
  v1::IoRequest read;
  read.add_operations()->mutable_read()->set_length(1);
  ASSERT_TRUE(stream->Write(read));
  v1::IoResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.results_size(), 1);
  EXPECT_THAT(FromRpcStatus(response.results(0).error()),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeDeleted));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(VolumeServiceTest, ClientsAreListedAPageAtATime) {
  ASSERT_THAT(Create(CreateRequest()), IsOk());
  constexpr int kClients = 5;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<
      std::unique_ptr<grpc::ClientReaderWriter<v1::IoRequest, v1::IoResponse>>>
      streams;
  v1::IoRequest open;
  open.set_volume("disk");
  for (int i = 0; i < kClients; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(server_.blocks().Io(contexts.back().get()));
    ASSERT_TRUE(streams.back()->Write(open));
    v1::IoResponse opened;
    ASSERT_TRUE(streams.back()->Read(&opened));
  }
  v1::ListClientsRequest request;
  request.set_name("disk");
  request.set_page_size(2);
  int listed = 0;
  int pages = 0;
  do {
    auto page =
        TestServer::Call(&Stub::ListClients, server_.volumes(), request);
    ASSERT_THAT(page, IsOk());
    ++pages;
    for (const v1::AttachedClient& client : page->clients()) {
      ++listed;
      EXPECT_EQ(client.protocol(), "io");
      EXPECT_THAT(client.address(), ::testing::StartsWith("127.0.0.1:"));
      EXPECT_GT(client.attach_time().seconds(), 0);
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(listed, kClients);
  EXPECT_EQ(pages, 3);
  for (auto& stream : streams) {
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
}

TEST_F(VolumeServiceTest, ClientsAreListedWithWhatTheyDid) {
  ASSERT_THAT(Create(CreateRequest()), IsOk());
  grpc::ClientContext context;
  auto stream = server_.blocks().Io(&context);
  v1::IoRequest request;
  request.set_volume("disk");
  for (uint64_t id = 1; id <= 3; ++id) {
    v1::IoOperation& write = *request.add_operations();
    write.set_id(id);
    write.mutable_write()->set_data(std::string(4096, 'x'));
  }
  v1::IoOperation& read = *request.add_operations();
  read.set_id(4);
  read.mutable_read()->set_length(10);
  v1::IoOperation& past_end = *request.add_operations();
  past_end.set_id(5);
  past_end.mutable_read()->set_offset(int64_t{1} << 62);
  past_end.mutable_read()->set_length(10);
  request.add_operations()->mutable_flush();
  ASSERT_TRUE(stream->Write(request));
  v1::IoResponse response;
  for (int answers = 0; answers < request.operations_size();) {
    ASSERT_TRUE(stream->Read(&response));
    answers += response.results_size();
  }
  v1::ListClientsRequest list;
  list.set_name("disk");
  const auto page =
      TestServer::Call(&Stub::ListClients, server_.volumes(), list);
  ASSERT_THAT(page, IsOk());
  ASSERT_EQ(page->clients_size(), 1);
  EXPECT_EQ(page->clients(0).write_operations(), 3);
  EXPECT_EQ(page->clients(0).written_bytes(), 3 * 4096);
  EXPECT_EQ(page->clients(0).read_operations(), 1) << "one has failed";
  EXPECT_EQ(page->clients(0).read_bytes(), 10);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(VolumeServiceTest, ListingClientsChecksTheRequest) {
  ASSERT_THAT(Create(CreateRequest()), IsOk());
  v1::ListClientsRequest request;
  request.set_name("disk");
  auto none = TestServer::Call(&Stub::ListClients, server_.volumes(), request);
  ASSERT_THAT(none, IsOk());
  EXPECT_EQ(none->clients_size(), 0);
  EXPECT_EQ(none->next_page_token(), "");
  request.set_page_size(-1);
  EXPECT_THAT(
      TestServer::Call(&Stub::ListClients, server_.volumes(), request).status(),
      IsInvalidField("page_size"));
  request.set_page_size(0);
  request.set_page_token("x");
  EXPECT_THAT(
      TestServer::Call(&Stub::ListClients, server_.volumes(), request).status(),
      IsInvalidField("page_token"));
  request.set_page_token("");
  request.set_name("other");
  EXPECT_THAT(
      TestServer::Call(&Stub::ListClients, server_.volumes(), request).status(),
      HasReason(absl::StatusCode::kNotFound, reason::kVolumeNotFound));
}

TEST_F(VolumeServiceTest, EveryErrorNamesTheVolume) {
  ASSERT_THAT(Create(CreateRequest()), IsOk());
  EXPECT_EQ(GetMetadata(Get("other").status()).at("volume"), "other");
  v1::UpdateVolumeRequest grow;
  grow.set_name("disk");
  grow.mutable_volume()->set_size_bytes(1);
  grow.mutable_update_mask()->add_paths("size_bytes");
  grow.set_if_unattached(true);
  grpc::ClientContext context;
  auto stream = server_.blocks().Io(&context);
  v1::IoRequest open;
  open.set_volume("disk");
  ASSERT_TRUE(stream->Write(open));
  v1::IoResponse opened;
  ASSERT_TRUE(stream->Read(&opened));
  v1::DeleteVolumeRequest request;
  request.set_name("disk");
  for (const absl::Status& status : {Delete(request), Update(grow).status()}) {
    EXPECT_THAT(status, HasReason(absl::StatusCode::kFailedPrecondition,
                                  reason::kVolumeAttached));
    EXPECT_EQ(GetMetadata(status).at("volume"), "disk");
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(VolumeServiceTest, StatMeasures) {
  server_.CreateVolume("disk", 1 << 20);
  v1::WriteRequest write;
  write.set_volume("disk");
  write.set_data(std::string(5000, 'x'));
  ASSERT_THAT(
      TestServer::Call(&v1::BlockService::Stub::Write, server_.blocks(), write),
      IsOk());
  v1::StatVolumeRequest request;
  request.set_name("disk");
  auto response =
      TestServer::Call(&Stub::StatVolume, server_.volumes(), request);
  ASSERT_THAT(response, IsOk());
  const v1::VolumeStats& stats = response->stats();
  EXPECT_EQ(stats.size_bytes(), 1 << 20);
  EXPECT_EQ(stats.logical_bytes(), 8192);
  EXPECT_EQ(stats.io().write_operations(), 1);
  EXPECT_EQ(stats.io().written_bytes(), 5000);
  EXPECT_GT(stats.io().write_nanoseconds(), 0);
  EXPECT_EQ(stats.attached_clients(), 0);
  ASSERT_EQ(stats.frames_size(), 5);
  EXPECT_EQ(stats.frames(4).span_blocks(), 16);
}

TEST_F(VolumeServiceTest, ServerInfoTellsVersionAndLimits) {
  server_.CreateVolume("disk", 1);
  auto info = TestServer::Call(&Stub::GetServerInfo, server_.volumes(),
                               v1::GetServerInfoRequest());
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->version(), std::string(kVersion));
  EXPECT_EQ(info->volumes(), 1);
  EXPECT_EQ(info->memory_limit_bytes(), 256 << 20);
  EXPECT_GT(info->memory_resident_bytes(), 0);
  EXPECT_EQ(info->max_data_bytes(), 16 << 20);
  EXPECT_EQ(info->io_window_operations(), 256);
  EXPECT_EQ(info->io_window_bytes(), 32 << 20);
  EXPECT_GT(info->start_time().seconds(), 0);
  ASSERT_EQ(info->grpc_addresses_size(), 1);
  EXPECT_EQ(info->grpc_addresses(0), server_.server().grpc_addresses()[0]);
  EXPECT_EQ(info->nbd_addresses_size(), 0);
}

TEST_F(VolumeServiceTest, MostVolumes) {
  server::ServerOptions options = ::ramvol::testing::TestServerOptions();
  options.engine.max_volumes = 1;
  TestServer small(options);
  small.CreateVolume("a", 1);
  EXPECT_THAT(
      TestServer::Call(&Stub::CreateVolume, small.volumes(),
                       CreateRequest("b")),
      HasReason(absl::StatusCode::kResourceExhausted, reason::kTooManyVolumes));
}

}  // namespace
}  // namespace ramvol::service
