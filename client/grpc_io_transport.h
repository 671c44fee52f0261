// Io streams over gRPC.
#ifndef RAMVOL_CLIENT_GRPC_IO_TRANSPORT_H_
#define RAMVOL_CLIENT_GRPC_IO_TRANSPORT_H_

#include <memory>
#include <vector>

#include "client/io_transport.h"
#include "grpcpp/channel.h"

namespace ramvol {

// Slot i uses channels[i % channels.size()]. Callbacks run on gRPC's threads.
std::shared_ptr<IoTransport> MakeGrpcIoTransport(
    std::vector<std::shared_ptr<grpc::Channel>> channels);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_GRPC_IO_TRANSPORT_H_
