#include "server/service/rpc_stats.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "ramvol/v1/access_service.pb.h"
#include "ramvol/v1/block_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::service {
namespace {

constexpr size_t kUnknownCode = 2;

const char* TypeOf(const google::protobuf::MethodDescriptor& method) {
  if (method.client_streaming()) {
    return method.server_streaming() ? "bidi_stream" : "client_stream";
  }
  return method.server_streaming() ? "server_stream" : "unary";
}

}  // namespace

void MethodStats::Handled(int code, int64_t took_ns) {
  auto index = static_cast<size_t>(code);
  if (index >= kCodeNames.size()) index = kUnknownCode;
  counts_.Add(static_cast<Count>(static_cast<size_t>(Count::kHandled) + index),
              1);
  durations_.Record(took_ns);
}

uint64_t MethodStats::handled(size_t code) const {
  return counts_.Sum(
      static_cast<Count>(static_cast<size_t>(Count::kHandled) + code));
}

RpcStats::RpcStats() {
  for (const google::protobuf::FileDescriptor* file :
       {v1::Volume::descriptor()->file(), v1::IoRequest::descriptor()->file(),
        v1::WhoAmIRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      const google::protobuf::ServiceDescriptor& service = *file->service(i);
      for (int j = 0; j < service.method_count(); ++j) {
        const google::protobuf::MethodDescriptor& found = *service.method(j);
        methods_.push_back({.type = TypeOf(found),
                            .service = std::string(service.full_name()),
                            .name = std::string(found.name())});
      }
    }
  }
  for (const Method& method : methods_) {
    by_path_.emplace(absl::StrCat("/", method.service, "/", method.name),
                     method.stats.get());
  }
}

MethodStats* RpcStats::Find(std::string_view path) const {
  const auto found = by_path_.find(absl::string_view(path.data(), path.size()));
  return found == by_path_.end() ? nullptr : found->second;
}

}  // namespace ramvol::service
