// What clients see of a policy: lists, events, NBD, and rights that go away.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "nbd_bridge/protocol/transmission.h"
#include "proto/status.h"
#include "ramvol/v1/access_service.grpc.pb.h"
#include "ramvol/v1/block_service.grpc.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/nbd_bridge/raw_client.h"
#include "tests/server/access_world.h"
#include "tests/support/eventually.h"

namespace ramvol {
namespace {

using ::ramvol::testing::AccessWorld;
using ::ramvol::testing::Eventually;
using ::ramvol::testing::kRoles;
using ::ramvol::testing::OptionAnswer;
using ::ramvol::testing::RawClient;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kVolumes[] = "/ramvol.v1.VolumeService/";
constexpr char kAccess[] = "/ramvol.v1.AccessService/";

class AccessTest : public ::testing::Test {
 protected:
  void Create(const std::string& name, const std::string& team = "") {
    v1::CreateVolumeRequest request;
    request.set_name(name);
    request.set_size_bytes(1 << 20);
    if (!team.empty()) (*request.mutable_labels())["team"] = team;
    world_.AskAs<v1::CreateVolumeResponse>(
        "admin", absl::StrCat(kVolumes, "CreateVolume"), request);
  }
  void Snapshot(const std::string& volume, const std::string& name) {
    v1::CreateSnapshotRequest request;
    request.set_volume(volume);
    request.set_name(name);
    world_.AskAs<v1::CreateSnapshotResponse>(
        "admin", absl::StrCat(kVolumes, "CreateSnapshot"), request);
  }
  std::vector<std::string> VolumesOf(const std::string& token,
                                     int page_size = 0) {
    std::vector<std::string> names;
    v1::ListVolumesRequest request;
    request.set_page_size(page_size);
    do {
      const auto page = world_.AskAs<v1::ListVolumesResponse>(
          token, absl::StrCat(kVolumes, "ListVolumes"), request);
      for (const v1::Volume& volume : page.volumes()) {
        names.push_back(volume.name());
      }
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    return names;
  }
  RawClient Connect(const std::string& role) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = world_.NbdPath(role);
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address),
                      sizeof(address)),
              0)
        << std::strerror(errno);
    return RawClient(fd);
  }
  std::string Audit() const {
    std::ifstream file(world_.audit_path());
    return {std::istreambuf_iterator<char>(file), {}};
  }

  AccessWorld world_;
};

TEST_F(AccessTest, ListsShowWhatOneMaySee) {
  for (const char* name : {"own-1", "secret-1", "secret-2", "t-1", "z-1"}) {
    Create(name);
  }
  EXPECT_THAT(VolumesOf("admin"),
              ElementsAre("own-1", "secret-1", "secret-2", "t-1", "z-1"));
  EXPECT_THAT(VolumesOf("viewer"), ElementsAre("own-1", "t-1"));
  EXPECT_THAT(VolumesOf("viewer", 1), ElementsAre("own-1", "t-1"));
  EXPECT_THAT(VolumesOf("none"), ElementsAre("own-1"));
}

TEST_F(AccessTest, SnapshotsAreSeenByTheirOwnNames) {
  Create("t-1");
  Snapshot("t-1", "t-monday");
  Snapshot("t-1", "backup");
  const auto list = world_.AskAs<v1::ListSnapshotsResponse>(
      "owner", absl::StrCat(kVolumes, "ListSnapshots"),
      v1::ListSnapshotsRequest());
  ASSERT_EQ(list.snapshots_size(), 1);
  EXPECT_EQ(list.snapshots(0).name(), "t-monday");
  // The owner of a volume cannot delete what others have kept of it.
  v1::DeleteSnapshotRequest request;
  request.set_name("backup");
  EXPECT_EQ(
      world_.Call(absl::StrCat(kVolumes, "DeleteSnapshot"), "owner", request)
          .error_code(),
      grpc::StatusCode::NOT_FOUND);
}

TEST_F(AccessTest, LabelsSelectVolumes) {
  world_.WritePolicy(
      AccessWorld::Policy() +
      "grants { identities: \"token:stranger\" labels { key: \"team\" value: "
      "\"blue\" } role: ROLE_OWNER }");
  Create("a", "blue");
  Create("b", "red");
  const std::string list = absl::StrCat(kVolumes, "ListVolumes");
  while (!world_.Call(list, "stranger", v1::ListVolumesRequest()).ok()) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_THAT(VolumesOf("stranger"), ElementsAre("a"));
  v1::CreateVolumeRequest request;
  request.set_name("c");
  request.set_size_bytes(4096);
  const std::string create = absl::StrCat(kVolumes, "CreateVolume");
  EXPECT_EQ(world_.Call(create, "stranger", request).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  (*request.mutable_labels())["team"] = "blue";
  EXPECT_TRUE(world_.Call(create, "stranger", request).ok());
}

TEST_F(AccessTest, EventsAreOfWhatOneMaySee) {
  Create("t-1");
  Create("secret");
  v1::RenameVolumeRequest rename;
  rename.set_name("secret");
  rename.set_new_name("t-2");
  world_.AskAs<v1::RenameVolumeResponse>(
      "admin", absl::StrCat(kVolumes, "RenameVolume"), rename);
  std::vector<std::string> answers;
  ASSERT_TRUE(world_
                  .Call(absl::StrCat(kVolumes, "WatchEvents"), "viewer",
                        v1::WatchEventsRequest(), &answers)
                  .ok());
  std::vector<std::string> seen;
  for (const std::string& answer : answers) {
    EXPECT_THAT(answer, Not(HasSubstr("secret")));
    v1::WatchEventsResponse response;
    response.ParseFromString(answer);
    for (const v1::Event& event : response.events()) {
      seen.push_back(absl::StrCat(event.type(), " ", event.volume()));
    }
  }
  EXPECT_THAT(seen, ElementsAre("volume_created t-1", "volume_renamed t-2"));
}

TEST_F(AccessTest, WhoAmI) {
  const auto who = [this](const std::string& token) {
    return world_.AskAs<v1::WhoAmIResponse>(
        token, absl::StrCat(kAccess, "WhoAmI"), v1::WhoAmIRequest());
  };
  const auto reader = who("reader");
  EXPECT_THAT(reader.identities(), ElementsAre("token:reader"));
  EXPECT_TRUE(reader.policy());
  ASSERT_EQ(reader.grants_size(), 2);
  EXPECT_EQ(reader.grants(1).role(), v1::ROLE_READER);
  EXPECT_THAT(reader.grants(1).volumes(), ElementsAre("t-*"));
  EXPECT_THAT(who("").identities(), IsEmpty());
  EXPECT_EQ(
      world_.Call(absl::StrCat(kAccess, "WhoAmI"), "wrong", v1::WhoAmIRequest())
          .error_code(),
      grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(AccessTest, CheckAccess) {
  const auto check = [this](const std::string& token, v1::Right right,
                            const std::string& volume) {
    v1::CheckAccessRequest request;
    request.set_right(right);
    request.set_volume(volume);
    return world_.AskAs<v1::CheckAccessResponse>(
        token, absl::StrCat(kAccess, "CheckAccess"), request);
  };
  EXPECT_TRUE(check("reader", v1::RIGHT_READ, "t-1").allowed());
  const auto write = check("reader", v1::RIGHT_WRITE, "t-1");
  EXPECT_FALSE(write.allowed());
  EXPECT_EQ(write.role(), v1::ROLE_READER);
  EXPECT_EQ(write.needed(), v1::ROLE_WRITER);
  EXPECT_FALSE(check("owner", v1::RIGHT_ADMIN, "").allowed());
  EXPECT_TRUE(check("admin", v1::RIGHT_ADMIN, "").allowed());
  EXPECT_FALSE(check("", v1::RIGHT_VIEW, "t-1").allowed());
  EXPECT_TRUE(check("writer", v1::RIGHT_CREATE, "own-new").allowed());
}

// Each connection of a Unix socket is told apart, and no client can choose what
// it is called.
TEST_F(AccessTest, UnixSocketsSayWhoIsThere) {
  const auto channel = grpc::CreateChannel(world_.GrpcUnixAddress(),
                                           grpc::InsecureChannelCredentials());
  const auto stub = v1::AccessService::NewStub(channel);
  grpc::ClientContext context;
  v1::WhoAmIResponse response;
  ASSERT_TRUE(stub->WhoAmI(&context, {}, &response).ok());
  EXPECT_THAT(
      response.identities(),
      Contains(getuid() == 0 ? "unix:root" : absl::StrCat("unix:", getuid())));
  EXPECT_THAT(response.identities(),
              Contains("socket:" + world_.GrpcUnixAddress().substr(5)));
}

// An open stream of Io, idle.
class OpenIo {
 public:
  OpenIo(AccessWorld& world, const std::string& token,
         const std::string& volume) {
    AccessWorld::SetToken(context_, token);
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::minutes(2));
    stream_ = world.server().blocks().Io(&context_);
    v1::IoRequest request;
    request.set_volume(volume);
    stream_->Write(request);
    v1::IoResponse response;
    opened_ = stream_->Read(&response);
  }
  bool opened() const { return opened_; }
  // Waits until the server ends it.
  absl::Status WaitForEnd() {
    v1::IoResponse response;
    while (stream_->Read(&response)) {
    }
    return FromGrpcStatus(stream_->Finish());
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::IoRequest, v1::IoResponse>>
      stream_;
  bool opened_ = false;
};

TEST_F(AccessTest, ARightThatIsTakenAwayEndsStreams) {
  Create("t-1");
  OpenIo writer(world_, "writer", "t-1");
  OpenIo owner(world_, "owner", "t-1");
  ASSERT_TRUE(writer.opened() && owner.opened());
  // From writer to reader.
  std::string policy = AccessWorld::Policy();
  const size_t at = policy.find("ROLE_WRITER");
  policy.replace(at, 11, "ROLE_READER");
  world_.WritePolicy(policy);
  const absl::Status end = writer.WaitForEnd();
  EXPECT_TRUE(absl::IsPermissionDenied(end)) << end;
  // Others go on, and the reader may come again.
  OpenIo reader(world_, "writer", "t-1");
  EXPECT_TRUE(reader.opened());
  v1::DeleteVolumeRequest request;
  request.set_name("t-1");
  request.set_force(true);
  world_.AskAs<v1::DeleteVolumeResponse>(
      "admin", absl::StrCat(kVolumes, "DeleteVolume"), request);
}

TEST_F(AccessTest, ATokenThatIsTakenAwayEndsStreams) {
  Create("t-1");
  OpenIo stream(world_, "owner", "t-1");
  ASSERT_TRUE(stream.opened());
  world_.WriteTokens("");
  EXPECT_TRUE(absl::IsPermissionDenied(stream.WaitForEnd()));
}

// Nobody but the admin has a grant.
constexpr char kAdminAlone[] =
    "grants { identities: \"token:admin\" role: ROLE_ADMIN }";

// A call that the server goes on with until it is ended.
template <typename Stream>
class OpenCall {
 public:
  OpenCall() {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::minutes(2));
  }
  grpc::ClientContext& context() { return context_; }
  std::unique_ptr<Stream>& stream() { return stream_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<Stream> stream_;
};

class OpenWatch : public OpenCall<grpc::ClientReader<v1::WatchEventsResponse>> {
 public:
  OpenWatch(AccessWorld& world, const std::string& token) {
    AccessWorld::SetToken(context(), token);
    v1::WatchEventsRequest request;
    request.set_follow(true);
    stream() = world.server().volumes().WatchEvents(&context(), request);
    v1::WatchEventsResponse response;
    EXPECT_TRUE(stream()->Read(&response));
  }
  // Waits until the server ends it.
  absl::Status WaitForEnd() {
    v1::WatchEventsResponse response;
    while (stream()->Read(&response)) {
    }
    return FromGrpcStatus(stream()->Finish());
  }
};

TEST_F(AccessTest, ARightThatIsTakenAwayEndsWatching) {
  OpenWatch watch(world_, "viewer");
  OpenWatch admin(world_, "admin");
  world_.WritePolicy(kAdminAlone);
  const absl::Status end = watch.WaitForEnd();
  EXPECT_TRUE(absl::IsPermissionDenied(end)) << end;
  // Others go on.
  Create("t-1");
  v1::WatchEventsResponse response;
  EXPECT_TRUE(admin.stream()->Read(&response));
  admin.context().TryCancel();
}

TEST_F(AccessTest, ATokenThatIsTakenAwayEndsWatching) {
  OpenWatch watch(world_, "viewer");
  world_.WriteTokens("");
  EXPECT_TRUE(absl::IsPermissionDenied(watch.WaitForEnd()));
}

class ImageAccessTest : public AccessTest {
 protected:
  // A volume whose image is larger than what streams hold by themselves.
  void CreateFull(const std::string& name) {
    Create(name);
    v1::UpdateVolumeRequest update;
    update.set_name(name);
    update.mutable_volume()->set_size_bytes(kBytes);
    update.mutable_update_mask()->add_paths("size_bytes");
    world_.AskAs<v1::UpdateVolumeResponse>(
        "admin", absl::StrCat(kVolumes, "UpdateVolume"), update);
    std::mt19937_64 random(1);
    for (int64_t offset = 0; offset < kBytes; offset += 1 << 20) {
      v1::WriteRequest request;
      request.set_volume(name);
      request.set_offset(offset);
      std::string& data = *request.mutable_data();
      while (data.size() < 1 << 20) {
        const uint64_t word = random();
        data.append(reinterpret_cast<const char*>(&word), sizeof(word));
      }
      world_.AskAs<v1::WriteResponse>("admin", "/ramvol.v1.BlockService/Write",
                                      request);
    }
  }
  // The first bytes of the image.
  std::string BeginningOf(const std::string& name) {
    grpc::ClientContext context;
    AccessWorld::SetToken(context, "admin");
    v1::SaveRequest request;
    request.set_volume(name);
    const auto stream = world_.server().blocks().Save(&context, request);
    std::string image;
    v1::SaveResponse response;
    while (image.size() < kBytes / 4 && stream->Read(&response)) {
      image += response.data();
    }
    context.TryCancel();
    return image;
  }

  static constexpr int64_t kBytes = 64 << 20;
};

TEST_F(ImageAccessTest, ARightThatIsTakenAwayEndsSaving) {
  CreateFull("t-1");
  OpenCall<grpc::ClientReader<v1::SaveResponse>> save;
  AccessWorld::SetToken(save.context(), "reader");
  v1::SaveRequest request;
  request.set_volume("t-1");
  save.stream() = world_.server().blocks().Save(&save.context(), request);
  v1::SaveResponse response;
  ASSERT_TRUE(save.stream()->Read(&response));
  world_.WritePolicy(kAdminAlone);
  while (world_
             .Call(absl::StrCat(kVolumes, "ListVolumes"), "reader",
                   v1::ListVolumesRequest())
             .ok()) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  int64_t read = 0;
  while (save.stream()->Read(&response)) {
    read += static_cast<int64_t>(response.data().size());
  }
  const absl::Status end = FromGrpcStatus(save.stream()->Finish());
  EXPECT_TRUE(absl::IsPermissionDenied(end)) << end;
  EXPECT_LT(read, kBytes);
}

// Midway: before the image says what the volume is like, and after.
TEST_F(ImageAccessTest, ARightThatIsTakenAwayEndsRestoring) {
  CreateFull("t-1");
  const std::string image = BeginningOf("t-1");
  for (const std::string& sent : {std::string(), image}) {
    SCOPED_TRACE(sent.size());
    world_.WritePolicy(AccessWorld::Policy());
    while (!world_
                .Call(absl::StrCat(kVolumes, "ListVolumes"), "owner",
                      v1::ListVolumesRequest())
                .ok()) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    OpenCall<grpc::ClientWriter<v1::RestoreRequest>> restore;
    AccessWorld::SetToken(restore.context(), "owner");
    v1::RestoreResponse response;
    restore.stream() =
        world_.server().blocks().Restore(&restore.context(), &response);
    v1::RestoreRequest request;
    request.mutable_volume()->set_name("t-2");
    ASSERT_TRUE(restore.stream()->Write(request));
    request.clear_volume();
    for (size_t at = 0; at < sent.size(); at += 1 << 20) {
      request.set_data(sent.substr(at, 1 << 20));
      ASSERT_TRUE(restore.stream()->Write(request));
    }
    // It is still a viewer of the volumes, in the second round.
    world_.WritePolicy(sent.empty() ? kAdminAlone
                                    : absl::StrCat(kAdminAlone,
                                                   "grants { identities: "
                                                   "\"token:owner\" volumes: "
                                                   "\"t-*\" role: "
                                                   "ROLE_WRITER }"));
    // The client does not half-close: only the server can end it.
    const absl::Status end = FromGrpcStatus(restore.stream()->Finish());
    EXPECT_TRUE(absl::IsPermissionDenied(end)) << end;
  }
  // What had come is gone.
  EXPECT_TRUE(Eventually([this] {
    const auto info = world_.AskAs<v1::GetServerInfoResponse>(
        "admin", absl::StrCat(kVolumes, "GetServerInfo"),
        v1::GetServerInfoRequest());
    return info.memory_used_bytes() < kBytes + (kBytes / 8);
  }));
}

TEST_F(AccessTest, ABadPolicyChangesNothing) {
  Create("t-1");
  OpenIo stream(world_, "owner", "t-1");
  world_.WritePolicy("grants { identities: 3 }");
  absl::SleepFor(absl::Milliseconds(600));
  EXPECT_THAT(VolumesOf("viewer"), ElementsAre("t-1"));
}

TEST_F(AccessTest, NbdListsWhatOneMaySee) {
  Create("t-1");
  Create("secret");
  Snapshot("t-1", "t-s");
  for (const char* role : {"none", "viewer", "admin", "stranger"}) {
    RawClient client = Connect(role);
    client.Greet();
    std::vector<OptionAnswer> list;
    client.Ask(nbd::Option::kList, "", &list);
    std::string names;
    for (const OptionAnswer& answer : list) {
      absl::StrAppend(&names, answer.data.substr(4), " ");
    }
    const std::string expected = role == std::string("viewer") ? "t-1 @t-s "
                                 : role == std::string("admin")
                                     ? "secret t-1 @t-s "
                                     : "";
    EXPECT_EQ(names, expected) << role;
  }
}

// Every option that names an export, by every role.
TEST_F(AccessTest, NbdOptionsByRole) {
  Create("t-1");
  Create("own-1");
  using nbd::Option;
  using nbd::OptionReply;
  for (int role = 0; role < 6; ++role) {
    for (const Option option :
         {Option::kInfo, Option::kGo, Option::kListMetaContext,
          Option::kSetMetaContext}) {
      SCOPED_TRACE(
          absl::StrCat(kRoles[role], " ", static_cast<uint32_t>(option)));
      RawClient client = Connect(kRoles[role]);
      client.Greet();
      client.Ask(Option::kStructuredReply);
      const bool meta = option == Option::kListMetaContext ||
                        option == Option::kSetMetaContext;
      const std::string data =
          meta ? RawClient::MetaData("t-1", {"base:allocation"})
               : RawClient::GoData("t-1");
      const OptionAnswer answer = client.Ask(option, data);
      const OptionReply expected = role == 0   ? OptionReply::kErrUnknown
                                   : role == 1 ? OptionReply::kErrPolicy
                                               : OptionReply::kAck;
      EXPECT_EQ(answer.type, expected);
      if (role > 0) continue;
      const OptionAnswer missing =
          client.Ask(option, meta ? RawClient::MetaData("t-0", {})
                                  : RawClient::GoData("t-0"));
      std::string text = missing.data;
      const size_t at = text.find("t-0");
      ASSERT_NE(at, std::string::npos);
      EXPECT_EQ(answer.data, text.replace(at, 3, "t-1"));
    }
    RawClient client = Connect(kRoles[role]);
    client.Greet();
    client.SendOption(Option::kExportName, "t-1");
    if (role < 2) {
      EXPECT_TRUE(client.SeesEnd()) << kRoles[role];
    }
  }
}

// Every command, by those who may open.
TEST_F(AccessTest, NbdCommandsByRole) {
  Create("t-1");
  using nbd::Command;
  for (int role = 2; role < 6; ++role) {
    RawClient client = Connect(kRoles[role]);
    client.Enter("t-1", nbd::Style::kStructured);
    for (const Command command :
         {Command::kRead, Command::kWrite, Command::kFlush, Command::kTrim,
          Command::kCache, Command::kWriteZeroes, Command::kBlockStatus}) {
      SCOPED_TRACE(absl::StrCat(kRoles[role], " ", static_cast<int>(command)));
      const bool writes = command == Command::kWrite ||
                          command == Command::kTrim ||
                          command == Command::kWriteZeroes;
      if (command == Command::kWrite) {
        client.SendWrite(1, 0, std::string(4096, 'x'));
      } else {
        client.Send(command, 1, 0, command == Command::kFlush ? 0 : 4096);
      }
      const auto answer = client.Read();
      EXPECT_EQ(answer.error,
                writes && role == 2 ? nbd::Error::kPerm : nbd::Error::kNone);
    }
  }
}

TEST_F(AccessTest, ARightThatIsTakenAwayEndsNbd) {
  Create("t-1");
  RawClient client = Connect("writer");
  client.Enter("t-1", nbd::Style::kStructured);
  RawClient other = Connect("owner");
  other.Enter("t-1", nbd::Style::kStructured);
  std::string policy = AccessWorld::Policy();
  policy.replace(policy.find("ROLE_WRITER"), 11, "ROLE_READER");
  world_.WritePolicy(policy);
  EXPECT_TRUE(client.SeesEnd());
  other.Send(nbd::Command::kFlush, 1, 0, 0);
  EXPECT_EQ(other.Read().error, nbd::Error::kNone);
}

TEST_F(AccessTest, AuditsWhatChangesAndWhatIsRefused) {
  Create("t-1");
  v1::ReadRequest read;
  read.set_volume("t-1");
  read.set_length(4096);
  world_.Call("/ramvol.v1.BlockService/Read", "reader", read);
  world_.Call("/ramvol.v1.BlockService/Read", "viewer", read);
  world_.Call("/ramvol.v1.BlockService/Read", "wrong", read);
  {
    RawClient client = Connect("reader");
    client.Enter("t-1", nbd::Style::kStructured);
  }
  const auto has = [this](const std::string& text) {
    return Eventually([&] { return Audit().find(text) != std::string::npos; });
  };
  EXPECT_TRUE(has("\"identities\":[\"token:admin\"],\"peer\":\"127.0.0.1:"));
  EXPECT_TRUE(
      has("\"call\":\"ramvol.v1.VolumeService.CreateVolume\","
          "\"volumes\":[\"t-1\"],\"result\":\"OK\"}"));
  EXPECT_TRUE(
      has("\"result\":\"PERMISSION_DENIED\",\"reason\":"
          "\"PERMISSION_DENIED\"}"));
  EXPECT_TRUE(has("\"identities\":[],\"peer\""));
  EXPECT_TRUE(
      has("\"call\":\"nbd.open\",\"volumes\":[\"t-1\"],\"result\":"
          "\"OK\"}"));
  EXPECT_EQ(Audit().find("\"token:reader\"],\"peer\":\"127"),
            std::string::npos);
  // Whoever sent it may have meant it for another server.
  EXPECT_EQ(Audit().find("wrong"), std::string::npos);
}

}  // namespace
}  // namespace ramvol
