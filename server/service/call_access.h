// The one place where gRPC's calls are allowed or refused.
#ifndef RAMVOL_SERVER_SERVICE_CALL_ACCESS_H_
#define RAMVOL_SERVER_SERVICE_CALL_ACCESS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/usage_limiter.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "ramvol/v1/access_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/access/audit_log.h"
#include "server/access/authority.h"
#include "server/access/identity.h"
#include "server/access/policy.h"
#include "server/access/role.h"
#include "server/access/sessions.h"
#include "server/engine/engine.h"
#include "server/service/catalog.h"
#include "server/service/rpc_rules.h"

namespace ramvol::service {

// Who calls, by what gRPC knows of the connection and the call's metadata:
// "authorization: Bearer TOKEN".
//
// Thread-safe. All that it borrows must outlive it and the calls.
class CallAccess {
 public:
  struct Parts {
    const access::Authority* authority = nullptr;
    access::Sessions* sessions = nullptr;
    // The names of the client that grpc::ServerContext::peer() calls so.
    std::function<std::vector<std::string>(const std::string&)> names_of;
    access::AuditLog* audit = nullptr;  // Null: none.
    engine::Engine* engine = nullptr;
    const Catalog* catalog = nullptr;
  };

  explicit CallAccess(const Parts& parts);

  // False when everyone may do everything and nothing is written down. Then the
  // calls below do nothing, in a nanosecond.
  bool on() const { return on_; }
  access::Sessions& sessions() const { return *parts_.sessions; }

  // See Authority::LimiterOf. Null for tokens that are not known.
  std::shared_ptr<UsageLimiter> LimiterOf(
      const access::Identity& identity) const {
    return parts_.authority->LimiterOf(identity);
  }
  std::shared_ptr<UsageLimiter> LimiterOf(
      const grpc::CallbackServerContext& context) const {
    if (!parts_.authority->has_limits()) return nullptr;
    const auto identity = IdentityOf(context);
    return identity.ok() ? LimiterOf(*identity) : nullptr;
  }

  // UNAUTHENTICATED for tokens that are not known.
  absl::StatusOr<access::Identity> IdentityOf(
      const grpc::CallbackServerContext& context) const;

  // Runs `call` if `request` is allowed, and keeps the audit log. Returns the
  // result. All that is refused is refused before anything is looked up, so
  // that what one may not see cannot be told from what is not there.
  absl::Status Run(const grpc::CallbackServerContext& context,
                   const google::protobuf::Message& request,
                   absl::FunctionRef<absl::Status()> call) const;
  // The first half of Run.
  absl::Status Check(const grpc::CallbackServerContext& context,
                     const google::protobuf::Message& request) const;

  // Whether the volume or snapshot is there and `identity` may do `right` to
  // it. The errors are those of Run.
  absl::Status CheckName(const access::Identity& identity, const Need& need,
                         const std::string& name) const;
  // The same for GetChangedExtents' `since`.
  absl::Status CheckSince(const access::Identity& identity,
                          const std::string& since) const;
  access::Decision Decide(const access::Identity& identity, access::Right right,
                          std::string_view name) const;
  // Ends what a call has open, by `end`, once its client may no longer do
  // `right` to the volume `name`, or with `labels` to what will have that name.
  // Drop the result with the call. Null when everyone may do everything.
  using EndCall = std::function<void(const absl::Status& why)>;
  access::Sessions::Entry StayAllowed(
      const grpc::CallbackServerContext& context, access::Right right,
      const std::string& name, EndCall end,
      std::optional<access::Labels> labels = std::nullopt) const;
  // Keeps a record, if the call is of those that are kept or was refused.
  void Note(const grpc::CallbackServerContext& context,
            const google::protobuf::Message& request,
            const absl::Status& result) const;

  // The same of what is no call of gRPC.
  void Note(const access::AuditLog::Record& record) const {
    if (parts_.audit != nullptr) parts_.audit->Add(record);
  }

  // Whether one may see an item of a list.
  using Sees = std::function<bool(const v1::Volume&)>;
  using SeesSnapshot = std::function<bool(const v1::Snapshot&)>;
  // Also leaves out of the event what one may not see. False: nothing is left.
  using SeesEvent = std::function<bool(v1::Event*)>;
  Sees VolumesFor(const grpc::CallbackServerContext& context) const;
  SeesSnapshot SnapshotsFor(const grpc::CallbackServerContext& context) const;
  // Null when one may see all.
  SeesEvent EventsFor(const grpc::CallbackServerContext& context) const;

  void FillWho(const access::Identity& identity,
               v1::WhoAmIResponse* response) const;
  absl::Status FillAccess(const access::Identity& identity,
                          const v1::CheckAccessRequest& request,
                          v1::CheckAccessResponse* response) const;

 private:
  absl::Status AddToken(const grpc::CallbackServerContext& context,
                        access::Identity* identity) const;
  absl::Status CheckNamed(const access::Identity& identity, const Named& named,
                          const google::protobuf::Message& request) const;
  // Of something that has `labels` once it is made.
  absl::Status CheckNew(const access::Identity& identity, const Need& need,
                        const std::string& name, access::LabelsOf labels) const;
  absl::Status ErrorFor(access::Decision decision,
                        const access::Identity& identity, const Need& need,
                        const std::string& name) const;
  access::Labels LabelsOf(const std::string& name) const;

  const Parts parts_;
  const bool on_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_CALL_ACCESS_H_
