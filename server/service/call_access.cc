#include "server/service/call_access.h"

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/reason.h"
#include "proto/status.h"
#include "server/engine/volume.h"
#include "server/service/block_operations.h"
#include "server/service/peer_text.h"
#include "server/service/snapshot_fields.h"
#include "server/service/uid.h"

namespace ramvol::service {
namespace {

using access::Decision;
using access::Identity;
using access::Labels;
using access::Right;
using access::Role;
using google::protobuf::Message;

constexpr char kAuthorization[] = "authorization";
constexpr char kBearer[] = "bearer ";
constexpr int kMaxShownGrants = 100;

Labels LabelsIn(const Message& message) {
  const auto* field = message.GetDescriptor()->FindFieldByName("labels");
  if (field == nullptr || !field->is_map()) return {};
  Labels labels;
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, field, i);
    const auto& of_entry = *entry.GetReflection();
    const auto* type = entry.GetDescriptor();
    labels[of_entry.GetString(entry, type->map_key())] =
        of_entry.GetString(entry, type->map_value());
  }
  return labels;
}

std::string StringIn(const Message& message, const char* name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(name);
  return field == nullptr ? ""
                          : message.GetReflection()->GetString(message, field);
}

std::string WithAt(const std::string& name) {
  return NamesSnapshot(name) ? name : absl::StrCat("@", name);
}

v1::Role ToProto(Role role) { return static_cast<v1::Role>(role); }

absl::StatusOr<Right> FromProto(v1::Right right) {
  switch (right) {
    case v1::RIGHT_VIEW:
      return Right::kView;
    case v1::RIGHT_READ:
      return Right::kRead;
    case v1::RIGHT_WRITE:
      return Right::kWrite;
    case v1::RIGHT_SNAPSHOT:
      return Right::kSnapshot;
    case v1::RIGHT_CREATE:
      return Right::kCreate;
    case v1::RIGHT_UPDATE:
      return Right::kUpdate;
    case v1::RIGHT_DELETE:
      return Right::kDelete;
    case v1::RIGHT_REVERT:
      return Right::kRevert;
    case v1::RIGHT_ADMIN:
      return Right::kServer;
    default:
      return InvalidField("right",
                          "right is not one that this server knows; name one");
  }
}

}  // namespace

CallAccess::CallAccess(const Parts& parts)
    : parts_(parts),
      on_(parts.authority->has_policy() || parts.authority->has_tokens() ||
          parts.audit != nullptr) {}

absl::StatusOr<Identity> CallAccess::IdentityOf(
    const grpc::CallbackServerContext& context) const {
  Identity identity;
  identity.names = parts_.names_of(context.peer());
  absl::Status status = AddToken(context, &identity);
  if (!status.ok()) return status;
  return identity;
}

absl::Status CallAccess::AddToken(const grpc::CallbackServerContext& context,
                                  Identity* identity) const {
  if (!parts_.authority->has_policy() && !parts_.authority->has_tokens()) {
    return absl::OkStatus();
  }
  const auto& metadata = context.client_metadata();
  const auto [begin, end] = metadata.equal_range(kAuthorization);
  if (begin == end) return absl::OkStatus();
  absl::string_view value(begin->second.data(), begin->second.size());
  const bool bearer = absl::StartsWithIgnoreCase(value, kBearer);
  if (bearer) value.remove_prefix(sizeof(kBearer) - 1);
  // Anything else is refused as a token that nobody has.
  if (!bearer || std::next(begin) != end) value = {};
  return parts_.authority->AddToken({value.data(), value.size()}, identity);
}

access::Labels CallAccess::LabelsOf(const std::string& name) const {
  const auto volume = parts_.catalog->Get(name);
  if (!volume.ok()) return {};
  return {volume->labels().begin(), volume->labels().end()};
}

Decision CallAccess::Decide(const Identity& identity, Right right,
                            std::string_view name) const {
  return parts_.authority->Decide(identity, right, name,
                                  [&] { return LabelsOf(std::string(name)); });
}

access::Sessions::Entry CallAccess::StayAllowed(
    const grpc::CallbackServerContext& context, Right right,
    const std::string& name, EndCall end, std::optional<Labels> labels) const {
  if (!parts_.authority->has_policy()) return nullptr;
  const auto known = IdentityOf(context);  // It was, a moment ago.
  const Identity identity = known.value_or(Identity());
  auto may = [this, known = known.ok(), identity, right, name,
              labels = std::move(labels)] {
    return known && parts_.authority->Decide(identity, right, name, [&] {
      return labels.has_value() ? *labels : LabelsOf(name);
    }) == Decision::kAllowed;
  };
  return sessions().Add(
      {std::move(may), [identity, right, name, end = std::move(end)] {
         end(access::DeniedError(identity, right, name));
       }});
}

absl::Status CallAccess::ErrorFor(Decision decision, const Identity& identity,
                                  const Need& need,
                                  const std::string& name) const {
  switch (decision) {
    case Decision::kAllowed:
      return absl::OkStatus();
    case Decision::kUnauthenticated:
      return access::UnauthenticatedError();
    case Decision::kDenied:
      return WithMetadata(access::DeniedError(identity, need.right, name),
                          NamesSnapshot(name) ? "snapshot" : "volume", name);
    case Decision::kInvisible:
      break;
  }
  if (need.absent == Absent::kEngine) {
    return WithMetadata(engine::Engine::NotFound(name), need.key, name);
  }
  return NamesSnapshot(name) ? SnapshotCatalog::NotFound(name)
                             : Catalog::NotFound(name);
}

absl::Status CallAccess::CheckName(const Identity& identity, const Need& need,
                                   const std::string& name) const {
  const Decision decision = parts_.authority->Check(
      identity, need.right, name, [&] { return LabelsOf(name); });
  return ErrorFor(decision, identity, need, name);
}

absl::Status CallAccess::CheckSince(const Identity& identity,
                                    const std::string& since) const {
  static constexpr Need kNeed = {"since", Right::kRead, Names::kSince,
                                 Absent::kEngine, "snapshot"};
  std::string name = since;
  if (const auto uid = ParseUid(since)) {
    const auto snapshot = parts_.engine->FindUid(*uid);
    // The call says that it is not there.
    if (snapshot == nullptr) return absl::OkStatus();
    name = snapshot->name();
    if (Decide(identity, Right::kView, name) != Decision::kAllowed) {
      return NoSnapshotWithUid(since);
    }
  }
  return name.empty() ? absl::OkStatus() : CheckName(identity, kNeed, name);
}

absl::Status CallAccess::CheckNew(const Identity& identity, const Need& need,
                                  const std::string& name,
                                  access::LabelsOf labels) const {
  Decision decision =
      parts_.authority->Check(identity, need.right, name, labels);
  // What is to be made cannot be missing.
  if (decision == Decision::kInvisible) decision = Decision::kDenied;
  return ErrorFor(decision, identity, need, name);
}

absl::Status CallAccess::CheckNamed(const Identity& identity,
                                    const Named& named,
                                    const Message& request) const {
  const Need& need = *named.need;
  std::string name = named.name;
  switch (need.names) {
    case Names::kVolume:
      break;
    case Names::kSnapshot:
      if (!name.empty()) name = WithAt(name);
      break;
    case Names::kSince:
      return CheckSince(identity, name);
    case Names::kNewVolume:
    case Names::kNewSnapshot:
      if (need.names == Names::kNewSnapshot) {
        if (name.empty()) {
          name = ChooseName(StringIn(*named.in, "volume"), absl::Now(), 1);
        }
        name = WithAt(name);
      }
      if (name.empty()) return absl::OkStatus();
      return CheckNew(identity, need, name,
                      [&] { return LabelsIn(*named.in); });
    case Names::kNewName:
      if (name.empty()) return absl::OkStatus();
      return CheckNew(identity, need, name,
                      [&] { return LabelsOf(StringIn(request, "name")); });
  }
  if (name.empty()) return absl::OkStatus();
  return CheckName(identity, need, name);
}

absl::Status CallAccess::Check(const grpc::CallbackServerContext& context,
                               const Message& request) const {
  if (!on_) return absl::OkStatus();
  const RpcRule* rule = RpcRuleSet::Get().Find(request.GetDescriptor());
  if (rule == nullptr) return absl::InternalError("a call without a rule");
  if (rule->right == Right::kNothing) return absl::OkStatus();
  const auto identity = IdentityOf(context);
  if (!identity.ok()) return identity.status();
  if (!parts_.authority->has_policy()) return absl::OkStatus();
  bool named_any = false;
  for (const Named& named : RpcRuleSet::NamedBy(*rule, request)) {
    const absl::Status status = CheckNamed(*identity, named, request);
    if (!status.ok()) return status;
    named_any = named_any || !named.name.empty();
  }
  if (named_any) return absl::OkStatus();
  const Decision decision = parts_.authority->Check(*identity, rule->right, "",
                                                    [] { return Labels(); });
  return ErrorFor(decision, *identity, {"", rule->right, Names::kVolume}, "");
}

absl::Status CallAccess::Run(const grpc::CallbackServerContext& context,
                             const Message& request,
                             absl::FunctionRef<absl::Status()> call) const {
  if (!on_) return call();
  absl::Status status = Check(context, request);
  if (status.ok()) status = call();
  Note(context, request, status);
  return status;
}

void CallAccess::Note(const grpc::CallbackServerContext& context,
                      const Message& request,
                      const absl::Status& result) const {
  if (parts_.audit == nullptr) return;
  const RpcRule* rule = RpcRuleSet::Get().Find(request.GetDescriptor());
  const bool refused = absl::IsPermissionDenied(result) ||
                       absl::IsUnauthenticated(result) ||
                       absl::IsNotFound(result);
  if (rule == nullptr || !(rule->audited || refused)) return;
  access::AuditLog::Record record;
  const auto identity = IdentityOf(context);
  if (identity.ok()) record.identity = &*identity;
  const std::string peer = PeerText(context.peer());
  record.peer = peer;
  record.call = rule->method;
  for (Named& named : RpcRuleSet::NamedBy(*rule, request)) {
    if (!named.name.empty()) record.volumes.push_back(std::move(named.name));
  }
  record.result = result;
  parts_.audit->Add(record);
}

CallAccess::Sees CallAccess::VolumesFor(
    const grpc::CallbackServerContext& context) const {
  if (!parts_.authority->has_policy()) return nullptr;
  const auto identity = IdentityOf(context);
  if (!identity.ok()) return [](const v1::Volume&) { return false; };
  return [this, identity = *identity](const v1::Volume& volume) {
    return parts_.authority->Decide(
               identity, Right::kView, volume.name(), [&]() -> Labels {
                 return {volume.labels().begin(), volume.labels().end()};
               }) == Decision::kAllowed;
  };
}

CallAccess::SeesSnapshot CallAccess::SnapshotsFor(
    const grpc::CallbackServerContext& context) const {
  if (!parts_.authority->has_policy()) return nullptr;
  const auto identity = IdentityOf(context);
  if (!identity.ok()) return [](const v1::Snapshot&) { return false; };
  return [this, identity = *identity](const v1::Snapshot& snapshot) {
    return parts_.authority->Decide(identity, Right::kView,
                                    WithAt(snapshot.name()), [&]() -> Labels {
                                      return {snapshot.labels().begin(),
                                              snapshot.labels().end()};
                                    }) == Decision::kAllowed;
  };
}

CallAccess::SeesEvent CallAccess::EventsFor(
    const grpc::CallbackServerContext& context) const {
  if (!parts_.authority->has_policy()) return nullptr;
  const auto identity = IdentityOf(context);
  if (!identity.ok()) return [](v1::Event*) { return false; };
  return [this, identity = *identity](v1::Event* event) {
    const auto sees = [&](const std::string& name) {
      return Decide(identity, Right::kView, name) == Decision::kAllowed;
    };
    if (event->volume().empty()) {
      return Decide(identity, Right::kServer, "") == Decision::kAllowed;
    }
    if (!sees(event->volume())) return false;
    if (!event->old_volume().empty() && !sees(event->old_volume())) {
      event->clear_old_volume();
    }
    return true;
  };
}

void CallAccess::FillWho(const Identity& identity,
                         v1::WhoAmIResponse* response) const {
  for (const std::string& name : identity.names) {
    response->add_identities(access::ForPeople(name));
  }
  response->set_policy(parts_.authority->has_policy());
  const auto subject = parts_.authority->SubjectOf(identity);
  if (subject == nullptr) return;
  for (const access::Grant* grant : subject->grants()) {
    if (response->grants_size() == kMaxShownGrants) break;
    v1::EffectiveGrant& shown = *response->add_grants();
    shown.set_role(ToProto(grant->role));
    for (const std::string& volume : grant->volumes) shown.add_volumes(volume);
    for (const auto& [key, value] : grant->labels) {
      (*shown.mutable_labels())[key] = value;
    }
  }
}

absl::Status CallAccess::FillAccess(const Identity& identity,
                                    const v1::CheckAccessRequest& request,
                                    v1::CheckAccessResponse* response) const {
  const auto right = FromProto(request.right());
  if (!right.ok()) return right.status();
  if (request.volume().empty() && *right != Right::kServer) {
    return InvalidField("volume", "volume is empty; name a volume");
  }
  response->set_needed(ToProto(access::RoleFor(*right)));
  const auto subject = parts_.authority->SubjectOf(identity);
  if (subject == nullptr) {
    response->set_allowed(true);
    response->set_role(v1::ROLE_ADMIN);
    return absl::OkStatus();
  }
  response->set_allowed(Decide(identity, *right, request.volume()) ==
                        Decision::kAllowed);
  if (request.volume().empty()) {
    if (subject->admin()) response->set_role(v1::ROLE_ADMIN);
  } else {
    response->set_role(ToProto(subject->RoleOn(
        request.volume(), [&] { return LabelsOf(request.volume()); })));
  }
  return absl::OkStatus();
}

}  // namespace ramvol::service
