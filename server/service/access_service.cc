#include "server/service/access_service.h"

#include <utility>

#include "absl/status/status.h"
#include "ramvol/v1/access_service.pb.h"
#include "server/service/call_message.h"
#include "server/service/limits.h"

namespace ramvol::service {
namespace {

UnaryTask TaskOf(grpc::CallbackServerContext* context,
                 const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  return {.context = context,
          .request_bytes = request->Length(),
          .answer_bytes = kMaxPageBytes,
          .response = response,
          .run = {}};
}

}  // namespace

AccessService::AccessService(const CallAccess* access, Executor* executor,
                             CallGate* gate,
                             std::shared_ptr<ClientMemory> memory)
    : access_(access), runner_(executor, gate, std::move(memory)) {}

grpc::ServerUnaryReactor* AccessService::WhoAmI(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = TaskOf(context, request, response);
  task.run = OnMessages<v1::WhoAmIRequest, v1::WhoAmIResponse>(
      request, response,
      [this, context](const v1::WhoAmIRequest&, v1::WhoAmIResponse* response) {
        const auto identity = access_->IdentityOf(*context);
        if (!identity.ok()) return identity.status();
        access_->FillWho(*identity, response);
        return absl::OkStatus();
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* AccessService::CheckAccess(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = TaskOf(context, request, response);
  task.run = OnMessages<v1::CheckAccessRequest, v1::CheckAccessResponse>(
      request, response,
      [this, context](const v1::CheckAccessRequest& request,
                      v1::CheckAccessResponse* response) {
        const auto identity = access_->IdentityOf(*context);
        if (!identity.ok()) return identity.status();
        return access_->FillAccess(*identity, request, response);
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

}  // namespace ramvol::service
