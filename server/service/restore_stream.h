// One call of BlockService.Restore.
#ifndef RAMVOL_SERVER_SERVICE_RESTORE_STREAM_H_
#define RAMVOL_SERVER_SERVICE_RESTORE_STREAM_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "qcow2/stream_reader.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/archive/volume_sink.h"
#include "server/engine/volume.h"
#include "server/service/image_streams.h"

namespace ramvol::service {

// Takes in a message on the executor while the next one is being received. The
// volume is hidden until all came.
class RestoreStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                            public std::enable_shared_from_this<RestoreStream>,
                            public ImageStream,
                            public ClientMemory::Client {
 public:
  // Answers a call, whose response lives until it has ended.
  static grpc::ServerReadReactor<grpc::ByteBuffer>* Answer(
      ImageStreams* streams, grpc::CallbackServerContext* context,
      grpc::ByteBuffer* response);

  RestoreStream(ImageStreams* streams, grpc::CallbackServerContext* context,
                grpc::ByteBuffer* response);
  ~RestoreStream() override;

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void Drain() override;
  std::function<void()> SendAway() override;

 private:
  // Of a message that is taken in, with its decoded form, a batch of chunks,
  // their content, and the reader's tables.
  static constexpr size_t kHeldBytes = size_t{20} << 20;

  void Start() ABSL_LOCKS_EXCLUDED(mu_);
  bool EndWait() ABSL_LOCKS_EXCLUDED(mu_);
  // There is memory: reads the first message.
  void Begin() ABSL_LOCKS_EXCLUDED(mu_);
  // Has the executor take in incoming_.
  void Continue() ABSL_LOCKS_EXCLUDED(mu_);
  void Step() ABSL_LOCKS_EXCLUDED(mu_);
  enum class Turn { kMessage, kAllCame, kStopped, kIdle };
  // What the executor has to do next. kMessage moves it to `*message`.
  Turn NextTurn(grpc::ByteBuffer* message) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status TakeIn(grpc::ByteBuffer* message);
  absl::Status Complete();
  absl::StatusOr<std::shared_ptr<engine::Volume>> Make(
      const qcow2::Header& header);
  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  void EndNow() ABSL_LOCKS_EXCLUDED(mu_);

  ImageStreams& streams_;
  const ImageParts& parts_;
  grpc::CallbackServerContext* const context_;  // Until it is finished.
  grpc::ByteBuffer* const response_;
  const std::string peer_;

  // The executor's, one task at a time.
  bool any_ = false;  // A message was taken in.
  v1::CreateVolumeRequest wanted_;
  v1::CreateVolumeRequest settings_;  // With those of the first image.
  archive::VolumeSink sink_;
  qcow2::StreamReader reader_;
  bool published_ = false;

  grpc::ByteBuffer incoming_;  // gRPC's while it reads.

  Mutex mu_;
  bool waits_ ABSL_GUARDED_BY(mu_) = false;  // For memory.
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  // The executor has a message; another one may have arrived meanwhile.
  bool busy_ ABSL_GUARDED_BY(mu_) = false;
  bool arrived_ ABSL_GUARDED_BY(mu_) = false;
  bool all_came_ ABSL_GUARDED_BY(mu_) = false;
  const std::shared_ptr<ClientMemory> memory_;
  ClientMemory::Holder holder_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_RESTORE_STREAM_H_
