// Every call by every role, from the protos: what no rule decides fails here.
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/reason.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/status.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "ramvol/v1/access_service.pb.h"
#include "ramvol/v1/block_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/access/role.h"
#include "server/service/rpc_rules.h"
#include "tests/server/access_world.h"

namespace ramvol::service {
namespace {

using access::Right;
using access::Role;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using ::ramvol::testing::AccessWorld;
using ::ramvol::testing::kRoles;

std::vector<const MethodDescriptor*> AllMethods() {
  std::vector<const MethodDescriptor*> methods;
  for (const auto* file : {v1::WhoAmIRequest::descriptor()->file(),
                           v1::ReadRequest::descriptor()->file(),
                           v1::Volume::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        methods.push_back(file->service(i)->method(j));
      }
    }
  }
  return methods;
}

const MethodDescriptor& MethodOf(const RpcRule& rule) {
  return *google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
      rule.method);
}

std::string PathOf(const RpcRule& rule) {
  const MethodDescriptor& method = MethodOf(rule);
  return absl::StrCat("/", method.service()->full_name(), "/", method.name());
}

TEST(AccessMatrixTest, EveryCallHasOneRule) {
  std::set<std::string> ruled;
  for (const RpcRule& rule : RpcRules()) {
    EXPECT_TRUE(ruled.insert(rule.method).second) << rule.method;
  }
  std::set<std::string> there;
  for (const MethodDescriptor* method : AllMethods()) {
    there.insert(method->full_name());
  }
  EXPECT_EQ(ruled, there);
}

// Every field of a request that may name a volume or snapshot is in its rule.
TEST(AccessMatrixTest, EveryNameIsInARule) {
  const std::set<std::string> kNames = {"name",  "volume",   "source",
                                        "since", "snapshot", "new_name"};
  // These name what is looked for in a list, which is filtered, and what the
  // caller asks about himself; Update's `volume` holds settings.
  const std::set<std::string> kElsewhere = {
      "ramvol.v1.ListSnapshotsRequest.volume",
      "ramvol.v1.CheckAccessRequest.volume",
      "ramvol.v1.UpdateVolumeRequest.volume"};
  for (const RpcRule& rule : RpcRules()) {
    std::set<std::string> ruled;
    for (const Need& need : rule.needs) {
      ruled.insert(std::vector<std::string>(absl::StrSplit(need.path, '.'))[0]);
    }
    const auto* request = MethodOf(rule).input_type();
    for (int i = 0; i < request->field_count(); ++i) {
      const FieldDescriptor* field = request->field(i);
      if (!kNames.contains(field->name()) ||
          (field->type() == FieldDescriptor::TYPE_MESSAGE &&
           field->message_type()->name() == "Timestamp") ||
          kElsewhere.contains(field->full_name())) {
        continue;
      }
      EXPECT_TRUE(ruled.contains(field->name())) << field->full_name();
    }
  }
}

// The name that a field is given, of what `prefix` is in front of.
std::string NameFor(Names names, const std::string& prefix) {
  switch (names) {
    case Names::kVolume:
      return prefix + "v";
    case Names::kSnapshot:
      return prefix + "s";
    case Names::kSince:
      return "@" + prefix + "s";
    case Names::kNewVolume:
    case Names::kNewName:
    case Names::kNewSnapshot:
      return prefix + "new";
  }
  return "";
}

void Set(Message* message, std::vector<std::string> path,
         const std::string& value) {
  const auto* field = message->GetDescriptor()->FindFieldByName(path[0]);
  const auto& reflection = *message->GetReflection();
  if (path.size() == 1) {
    reflection.SetString(message, field, value);
    return;
  }
  path.erase(path.begin());
  if (!field->is_repeated()) {
    Set(reflection.MutableMessage(message, field), path, value);
  } else if (reflection.FieldSize(*message, field) > 0) {
    Set(reflection.MutableRepeatedMessage(message, field, 0), path, value);
  } else {
    Set(reflection.AddMessage(message, field), path, value);
  }
}

// So that a call that is allowed has something to do.
void SetNumbers(Message* message) {
  const auto& reflection = *message->GetReflection();
  const auto* type = message->GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (field->is_repeated()) continue;
    if (field->name() == "length") reflection.SetInt64(message, field, 4096);
    if (field->name() == "size_bytes") {
      reflection.SetInt64(message, field, 1 << 20);
    }
    if (field->name() == "data") {
      reflection.SetString(message, field, std::string(4096, 'd'));
    }
    if (field->name() == "backing_file") {
      reflection.SetString(message, field, "base.qcow2");
    }
  }
}

class AccessMatrix : public ::testing::Test {
 protected:
  void SetUp() override {
    Renew();
    v1::SaveRequest save;
    save.set_volume("own-v");
    std::vector<std::string> messages;
    ASSERT_TRUE(
        world_.Call("/ramvol.v1.BlockService/Save", "admin", save, &messages)
            .ok());
    for (const std::string& message : messages) {
      v1::SaveResponse part;
      part.ParseFromString(message);
      image_ += part.data();
    }
  }

  // Makes what the calls before may have deleted.
  void Renew() {
    for (const std::string prefix : {"t-", "own-"}) {
      Remove(prefix + "new");
      v1::CreateVolumeRequest create;
      create.set_name(prefix + "v");
      create.set_size_bytes(1 << 20);
      world_.Call("/ramvol.v1.VolumeService/CreateVolume", "admin", create);
      v1::CreateSnapshotRequest snapshot;
      snapshot.set_volume(prefix + "v");
      snapshot.set_name(prefix + "s");
      world_.Call("/ramvol.v1.VolumeService/CreateSnapshot", "admin", snapshot);
    }
  }
  void Remove(const std::string& name) {
    v1::DeleteVolumeRequest volume;
    volume.set_name(name);
    world_.Call("/ramvol.v1.VolumeService/DeleteVolume", "admin", volume);
    v1::DeleteSnapshotRequest snapshot;
    snapshot.set_name(name);
    world_.Call("/ramvol.v1.VolumeService/DeleteSnapshot", "admin", snapshot);
  }

  // A request that names what `need` names in "t-*" and all else in "own-*".
  std::unique_ptr<Message> Request(const RpcRule& rule, const Need* need) {
    std::unique_ptr<Message> request(
        google::protobuf::MessageFactory::generated_factory()
            ->GetPrototype(MethodOf(rule).input_type())
            ->New());
    SetNumbers(request.get());
    for (const Need& one : rule.needs) {
      Set(request.get(), absl::StrSplit(one.path, '.'),
          NameFor(one.names, &one == need ? "t-" : "own-"));
    }
    if (std::string_view(rule.method) == "ramvol.v1.BlockService.Restore") {
      Set(request.get(), {"data"}, image_);
    }
    return request;
  }

  AccessWorld world_;
  std::string image_;
};

bool Makes(const Need& need) {
  return need.right == Right::kCreate || need.names == Names::kNewSnapshot;
}

TEST_F(AccessMatrix, EveryCallByEveryRole) {
  int calls = 0;
  for (const RpcRule& rule : RpcRules()) {
    for (const Need& need : rule.needs) {
      for (int role = 0; role < 6; ++role) {
        SCOPED_TRACE(
            absl::StrCat(rule.method, " ", need.path, " by ", kRoles[role]));
        Renew();
        const auto request = Request(rule, &need);
        const absl::Status status =
            FromGrpcStatus(world_.Call(PathOf(rule), kRoles[role], *request));
        ++calls;
        const Role needed = access::RoleFor(need.right);
        if (static_cast<Role>(role) >= needed) {
          EXPECT_FALSE(absl::IsPermissionDenied(status)) << status;
          EXPECT_FALSE(absl::IsUnauthenticated(status)) << status;
          EXPECT_FALSE(absl::IsNotFound(status)) << status;
        } else if (role > 0 || Makes(need)) {
          EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
          EXPECT_EQ(GetReason(status), reason::kPermissionDenied);
        } else {
          EXPECT_TRUE(absl::IsNotFound(status)) << status;
        }
      }
    }
  }
  EXPECT_GT(calls, 150);
}

// Not by code, text or details.
TEST_F(AccessMatrix, WhatOneMayNotSeeCannotBeToldFromWhatIsNotThere) {
  for (const RpcRule& rule : RpcRules()) {
    for (const Need& need : rule.needs) {
      if (Makes(need)) continue;
      SCOPED_TRACE(absl::StrCat(rule.method, " ", need.path));
      Renew();
      const auto request = Request(rule, &need);
      const grpc::Status hidden = world_.Call(PathOf(rule), "none", *request);
      Remove("t-s");
      Remove("t-v");
      const grpc::Status missing = world_.Call(PathOf(rule), "none", *request);
      // What anyone is told of what is not there.
      const grpc::Status usual = world_.Call(PathOf(rule), "admin", *request);
      EXPECT_EQ(hidden.error_code(), grpc::StatusCode::NOT_FOUND);
      // Some calls look at other fields first, of those who may call them.
      std::vector<grpc::Status> others = {missing};
      if (usual.error_code() == grpc::StatusCode::NOT_FOUND) {
        others.push_back(usual);
      }
      for (const grpc::Status& other : others) {
        EXPECT_EQ(hidden.error_code(), other.error_code());
        EXPECT_EQ(hidden.error_message(), other.error_message());
        EXPECT_EQ(hidden.error_details().size(), other.error_details().size());
        EXPECT_EQ(GetMetadata(FromGrpcStatus(hidden)),
                  GetMetadata(FromGrpcStatus(other)));
      }
    }
  }
}

TEST_F(AccessMatrix, StrangersMayDoNothing) {
  for (const RpcRule& rule : RpcRules()) {
    const bool for_all = rule.right == Right::kNothing;
    for (const Need* need : {static_cast<const Need*>(nullptr),
                             rule.needs.empty() ? nullptr : &rule.needs[0]}) {
      SCOPED_TRACE(rule.method);
      const auto request = Request(rule, need);
      const auto ask = [&](const std::string& token) {
        return FromGrpcStatus(world_.Call(PathOf(rule), token, *request));
      };
      const absl::Status anonymous = ask("");
      EXPECT_EQ(absl::IsUnauthenticated(anonymous), !for_all) << anonymous;
      if (!for_all) {
        EXPECT_EQ(GetReason(anonymous), reason::kUnauthenticated);
      }
      EXPECT_TRUE(absl::IsUnauthenticated(ask("wrong")));
      // Known, and without any grant.
      const absl::Status stranger = ask("stranger");
      EXPECT_EQ(
          absl::IsPermissionDenied(stranger) || absl::IsNotFound(stranger),
          !for_all)
          << stranger;
    }
  }
}

// What names nothing needs no more than some grant, and says so.
TEST_F(AccessMatrix, EmptyRequestsChangeNothing) {
  for (const RpcRule& rule : RpcRules()) {
    if (rule.needs.empty()) continue;
    std::unique_ptr<Message> request(
        google::protobuf::MessageFactory::generated_factory()
            ->GetPrototype(MethodOf(rule).input_type())
            ->New());
    const grpc::Status status = world_.Call(PathOf(rule), "viewer", *request);
    EXPECT_FALSE(status.ok()) << rule.method;
  }
}

// Operations of Io, of the kinds that the proto has.
TEST_F(AccessMatrix, EveryOperationByEveryRole) {
  const auto* kinds = v1::IoOperation::descriptor()->oneof_decl(0);
  const std::set<std::string> kWriting = {"write", "trim", "write_zeroes"};
  const std::set<std::string> kReading = {"read", "flush", "get_extents",
                                          "get_changed_extents"};
  for (int i = 0; i < kinds->field_count(); ++i) {
    const FieldDescriptor* kind = kinds->field(i);
    ASSERT_TRUE(kWriting.contains(kind->name()) ||
                kReading.contains(kind->name()))
        << kind->name() << " has no decision";
    for (int role = 2; role < 6; ++role) {
      SCOPED_TRACE(absl::StrCat(kind->name(), " by ", kRoles[role]));
      v1::IoRequest request;
      request.set_volume("t-v");
      v1::IoOperation& operation = *request.add_operations();
      Message* body =
          operation.GetReflection()->MutableMessage(&operation, kind);
      SetNumbers(body);
      if (kind->name() == "get_changed_extents") {
        operation.mutable_get_changed_extents()->set_since("@t-s");
      }
      std::vector<std::string> answers;
      ASSERT_TRUE(world_
                      .Call("/ramvol.v1.BlockService/Io", kRoles[role], request,
                            &answers)
                      .ok());
      absl::Status error;
      bool read_only = false;
      for (const std::string& answer : answers) {
        v1::IoResponse response;
        response.ParseFromString(answer);
        if (response.has_opened()) read_only = response.opened().read_only();
        for (const v1::IoResult& result : response.results()) {
          if (result.has_error()) error = FromRpcStatus(result.error());
        }
      }
      const bool may_write = role >= static_cast<int>(Role::kWriter);
      EXPECT_EQ(read_only, !may_write);
      if (may_write || !kWriting.contains(kind->name())) {
        EXPECT_TRUE(error.ok()) << error;
      } else {
        EXPECT_TRUE(absl::IsPermissionDenied(error)) << error;
      }
    }
  }
}

TEST_F(AccessMatrix, ChangesAreToldOfSnapshotsThatOneMayRead) {
  v1::CreateSnapshotRequest hidden;
  hidden.set_volume("t-v");
  hidden.set_name("hidden");
  const auto made = world_.AskAs<v1::CreateSnapshotResponse>(
      "admin", "/ramvol.v1.VolumeService/CreateSnapshot", hidden);
  for (const std::string& since :
       {std::string("@hidden"), made.snapshot().uid()}) {
    v1::GetChangedExtentsRequest changes;
    changes.set_volume("t-v");
    changes.set_since(since);
    changes.set_length(4096);
    EXPECT_EQ(
        world_
            .Call("/ramvol.v1.BlockService/GetChangedExtents", "owner", changes)
            .error_code(),
        grpc::StatusCode::NOT_FOUND)
        << since;
    v1::IoRequest request;
    request.set_volume("t-v");
    *request.add_operations()->mutable_get_changed_extents()->mutable_since() =
        since;
    std::vector<std::string> answers;
    world_.Call("/ramvol.v1.BlockService/Io", "owner", request, &answers);
    ASSERT_FALSE(answers.empty());
    v1::IoResponse response;
    response.ParseFromString(answers.back());
    ASSERT_EQ(response.results_size(), 1);
    EXPECT_EQ(response.results(0).error().code(), grpc::StatusCode::NOT_FOUND);
  }
}

}  // namespace
}  // namespace ramvol::service
