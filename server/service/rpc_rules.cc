#include "server/service/rpc_rules.h"

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "ramvol/v1/access_service.pb.h"
#include "ramvol/v1/block_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::service {
namespace {

using access::Right;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// What reads, writes and lists blocks names a volume in the engine's words.
Need Block(Right right) {
  return {"volume", right, Names::kVolume, Absent::kEngine};
}
Need Since() {
  return {"since", Right::kRead, Names::kSince, Absent::kEngine, "snapshot"};
}
Need Volume(Right right) { return {"name", right, Names::kVolume}; }

std::vector<RpcRule> MakeRules() {
  constexpr bool kAudited = true;
  return {
      {"ramvol.v1.AccessService.WhoAmI", Right::kNothing, {}},
      {"ramvol.v1.AccessService.CheckAccess", Right::kNothing, {}},
      {"ramvol.v1.VolumeService.CreateVolume",
       Right::kEnter,
       {{"name", Right::kCreate, Names::kNewVolume},
        {"source", Right::kRead, Names::kVolume, Absent::kEngine, "source"}},
       kAudited},
      {"ramvol.v1.VolumeService.GetVolume",
       Right::kEnter,
       {Volume(Right::kView)}},
      // Shows what one may see.
      {"ramvol.v1.VolumeService.ListVolumes", Right::kEnter, {}},
      {"ramvol.v1.VolumeService.UpdateVolume",
       Right::kEnter,
       {Volume(Right::kUpdate)},
       kAudited},
      {"ramvol.v1.VolumeService.RenameVolume",
       Right::kEnter,
       {Volume(Right::kUpdate), {"new_name", Right::kCreate, Names::kNewName}},
       kAudited},
      {"ramvol.v1.VolumeService.DeleteVolume",
       Right::kEnter,
       {Volume(Right::kDelete)},
       kAudited},
      {"ramvol.v1.VolumeService.StatVolume",
       Right::kEnter,
       {Volume(Right::kView)}},
      {"ramvol.v1.VolumeService.ListClients",
       Right::kEnter,
       {Volume(Right::kView)}},
      {"ramvol.v1.VolumeService.CreateSnapshot",
       Right::kEnter,
       {Block(Right::kSnapshot),
        {"name", Right::kSnapshot, Names::kNewSnapshot}},
       kAudited},
      {"ramvol.v1.VolumeService.CreateSnapshots",
       Right::kEnter,
       {{"snapshots.volume", Right::kSnapshot, Names::kVolume, Absent::kEngine},
        {"snapshots.name", Right::kSnapshot, Names::kNewSnapshot}},
       kAudited},
      {"ramvol.v1.VolumeService.GetSnapshot",
       Right::kEnter,
       {{"name", Right::kView, Names::kSnapshot}}},
      // Shows what one may see.
      {"ramvol.v1.VolumeService.ListSnapshots", Right::kEnter, {}},
      {"ramvol.v1.VolumeService.DeleteSnapshot",
       Right::kEnter,
       {{"name", Right::kDelete, Names::kSnapshot}},
       kAudited},
      {"ramvol.v1.VolumeService.RevertVolume",
       Right::kEnter,
       {Volume(Right::kRevert), {"snapshot", Right::kRead, Names::kSnapshot}},
       kAudited},
      // Shows what happens to what one may see.
      {"ramvol.v1.VolumeService.WatchEvents", Right::kEnter, {}},
      {"ramvol.v1.VolumeService.SaveAll", Right::kServer, {}, kAudited},
      {"ramvol.v1.VolumeService.GetServerInfo", Right::kEnter, {}},
      {"ramvol.v1.BlockService.Read", Right::kEnter, {Block(Right::kRead)}},
      {"ramvol.v1.BlockService.Write", Right::kEnter, {Block(Right::kWrite)}},
      {"ramvol.v1.BlockService.Trim", Right::kEnter, {Block(Right::kWrite)}},
      {"ramvol.v1.BlockService.WriteZeroes",
       Right::kEnter,
       {Block(Right::kWrite)}},
      {"ramvol.v1.BlockService.Flush", Right::kEnter, {Block(Right::kRead)}},
      {"ramvol.v1.BlockService.GetExtents",
       Right::kEnter,
       {Block(Right::kRead)}},
      {"ramvol.v1.BlockService.GetChangedExtents",
       Right::kEnter,
       {Block(Right::kRead), Since()}},
      // Of its operations, those that write need kWrite.
      {"ramvol.v1.BlockService.Io",
       Right::kEnter,
       {Block(Right::kRead)},
       kAudited},
      {"ramvol.v1.BlockService.Save",
       Right::kEnter,
       {Block(Right::kRead), Since()},
       kAudited},
      {"ramvol.v1.BlockService.Restore",
       Right::kEnter,
       {{"volume.name", Right::kCreate, Names::kNewVolume}},
       kAudited},
  };
}

void Collect(const Message& message, absl::Span<const std::string> path,
             const Need& need, std::vector<Named>* named) {
  const auto& reflection = *message.GetReflection();
  const FieldDescriptor* field =
      message.GetDescriptor()->FindFieldByName(path[0]);
  RAMVOL_CHECK(field != nullptr);
  if (path.size() == 1) {
    named->push_back({&need, reflection.GetString(message, field), &message});
  } else if (!field->is_repeated()) {
    Collect(reflection.GetMessage(message, field), path.subspan(1), need,
            named);
  } else {
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      Collect(reflection.GetRepeatedMessage(message, field, i), path.subspan(1),
              need, named);
    }
  }
}

}  // namespace

absl::Span<const RpcRule> RpcRules() {
  static const auto& rules = *new std::vector<RpcRule>(MakeRules());
  return rules;
}

const RpcRuleSet& RpcRuleSet::Get() {
  static const RpcRuleSet& set = *new RpcRuleSet;
  return set;
}

RpcRuleSet::RpcRuleSet() {
  // Links what names these services, so that the pool knows them.
  (void)v1::WhoAmIRequest::descriptor();
  (void)v1::ReadRequest::descriptor();
  (void)v1::CreateVolumeRequest::descriptor();
  for (const RpcRule& rule : RpcRules()) {
    const auto* method =
        google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
            rule.method);
    RAMVOL_CHECK(method != nullptr);
    RAMVOL_CHECK(rules_.emplace(method->input_type(), &rule).second);
  }
}

const RpcRule* RpcRuleSet::Find(const Descriptor* request) const {
  const auto found = rules_.find(request);
  return found == rules_.end() ? nullptr : found->second;
}

std::vector<Named> RpcRuleSet::NamedBy(const RpcRule& rule,
                                       const Message& request) {
  std::vector<Named> named;
  for (const Need& need : rule.needs) {
    const std::vector<std::string> path = absl::StrSplit(need.path, '.');
    Collect(request, path, need, &named);
  }
  return named;
}

}  // namespace ramvol::service
