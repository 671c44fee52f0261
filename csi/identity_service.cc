#include "csi/identity_service.h"

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/version.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ramvol::csi_driver {

using ::csi::v1::PluginCapability;

grpc::Status IdentityService::GetPluginInfo(
    grpc::ServerContext*, const ::csi::v1::GetPluginInfoRequest*,
    ::csi::v1::GetPluginInfoResponse* response) {
  response->set_name(kDriverName);
  response->set_vendor_version(std::string(kVersion));
  return grpc::Status::OK;
}

grpc::Status IdentityService::GetPluginCapabilities(
    grpc::ServerContext*, const ::csi::v1::GetPluginCapabilitiesRequest*,
    ::csi::v1::GetPluginCapabilitiesResponse* response) {
  for (const auto type :
       {PluginCapability::Service::CONTROLLER_SERVICE,
        PluginCapability::Service::GROUP_CONTROLLER_SERVICE,
        PluginCapability::Service::SNAPSHOT_METADATA_SERVICE,
        PluginCapability::Service::VOLUME_ACCESSIBILITY_CONSTRAINTS}) {
    response->add_capabilities()->mutable_service()->set_type(type);
  }
  response->add_capabilities()->mutable_volume_expansion()->set_type(
      PluginCapability::VolumeExpansion::ONLINE);
  return grpc::Status::OK;
}

grpc::Status IdentityService::Probe(grpc::ServerContext* context,
                                    const ::csi::v1::ProbeRequest*,
                                    ::csi::v1::ProbeResponse* response) {
  return calls_->Run("Probe", "", *context, [&](absl::Time) {
    response->mutable_ready()->set_value(true);
    return absl::OkStatus();
  });
}

}  // namespace ramvol::csi_driver
