// The Identity service of CSI.
#ifndef RAMVOL_CSI_IDENTITY_SERVICE_H_
#define RAMVOL_CSI_IDENTITY_SERVICE_H_

#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ramvol::csi_driver {

inline constexpr char kDriverName[] = "csi.ramvol.dev";

// Borrows what it is given.
class IdentityService final : public ::csi::v1::Identity::Service {
 public:
  explicit IdentityService(Calls* calls) : calls_(calls) {}

  grpc::Status GetPluginInfo(
      grpc::ServerContext* context,
      const ::csi::v1::GetPluginInfoRequest* request,
      ::csi::v1::GetPluginInfoResponse* response) override;
  grpc::Status GetPluginCapabilities(
      grpc::ServerContext* context,
      const ::csi::v1::GetPluginCapabilitiesRequest* request,
      ::csi::v1::GetPluginCapabilitiesResponse* response) override;
  // Ready as soon as it answers. Kubernetes' livenessprobe restarts who is not
  // ready, which helps nobody while ramvold is away.
  grpc::Status Probe(grpc::ServerContext* context,
                     const ::csi::v1::ProbeRequest* request,
                     ::csi::v1::ProbeResponse* response) override;

 private:
  Calls* const calls_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_IDENTITY_SERVICE_H_
