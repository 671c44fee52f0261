// What gRPC itself costs: BlockService with nothing behind it.
#ifndef RAMVOL_TESTS_BENCH_ECHO_SERVER_H_
#define RAMVOL_TESTS_BENCH_ECHO_SERVER_H_

#include <string>

#include "grpcpp/support/server_callback.h"
#include "ramvol/v1/block_service.grpc.pb.h"

namespace ramvol::bench {

// Answers on gRPC's own threads. Read gives as many bytes as it is asked for,
// Write takes what comes; Io answers each message by one that has as many bytes
// as its first operation, a read, asks for, and the id of that.
class EchoService final : public v1::BlockService::CallbackService {
 public:
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const v1::ReadRequest* request,
                                 v1::ReadResponse* response) override;
  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context,
                                  const v1::WriteRequest* request,
                                  v1::WriteResponse* response) override;
  grpc::ServerBidiReactor<v1::IoRequest, v1::IoResponse>* Io(
      grpc::CallbackServerContext* context) override;
};

// Serves at `address`, with reflection, prints one line when it is ready, and
// does not return.
[[noreturn]] void ServeEcho(const std::string& address);

}  // namespace ramvol::bench

#endif  // RAMVOL_TESTS_BENCH_ECHO_SERVER_H_
