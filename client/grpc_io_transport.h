// Io streams over gRPC.
#ifndef RAMVOL_CLIENT_GRPC_IO_TRANSPORT_H_
#define RAMVOL_CLIENT_GRPC_IO_TRANSPORT_H_

#include <memory>
#include <vector>

#include "client/io_transport.h"
#include "client/timer.h"
#include "grpcpp/channel.h"

namespace ramvol {

// Channel i is channels[i % channels.size()]. Callbacks run on gRPC's threads.
// A stream's memory is freed on the timer's thread.
std::shared_ptr<IoTransport> MakeGrpcIoTransport(
    std::vector<std::shared_ptr<grpc::Channel>> channels,
    std::shared_ptr<Timer> timer);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_GRPC_IO_TRANSPORT_H_
