// One call of BlockService.Restore.
#ifndef RAMVOL_SERVER_SERVICE_RESTORE_STREAM_H_
#define RAMVOL_SERVER_SERVICE_RESTORE_STREAM_H_

#include <cstddef>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "qcow2/stream_reader.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/access/sessions.h"
#include "server/archive/volume_sink.h"
#include "server/engine/volume.h"
#include "server/service/image_call.h"
#include "server/service/image_streams.h"

namespace ramvol::service {

// Takes in a message on the executor while the next one is being received. The
// volume is hidden until all came.
class RestoreStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                            public ImageCall {
 public:
  // Answers a call, whose response lives until it has ended.
  static grpc::ServerReadReactor<grpc::ByteBuffer>* Answer(
      ImageStreams* streams, grpc::CallbackServerContext* context,
      grpc::ByteBuffer* response);

  RestoreStream(ImageStreams* streams, grpc::CallbackServerContext* context,
                grpc::ByteBuffer* response);
  ~RestoreStream() override;

  void OnReadDone(bool ok) override;
  void OnCancel() override { Cancel(); }
  void OnDone() override { Leave(); }
  void Drain() override;

 private:
  // Of a message that is taken in, with its decoded form, a batch of chunks,
  // their content, and the reader's tables.
  static constexpr size_t kHeldBytes = size_t{20} << 20;

  void Begin() override;
  void Step() override;
  void FinishCall(const grpc::Status& status) override { Finish(status); }
  enum class Turn { kMessage, kAllCame, kStopped, kIdle };
  // What the executor has to do next. kMessage moves it to `*message`.
  Turn NextTurn(grpc::ByteBuffer* message) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status TakeIn(grpc::ByteBuffer* message);
  absl::Status Complete();
  absl::Status MayCreate() const;
  absl::StatusOr<std::shared_ptr<engine::Volume>> Make(
      const qcow2::Header& header);

  grpc::ByteBuffer* const response_;

  // The executor's, one task at a time.
  access::Sessions::Entry session_entry_;  // The right that it has to keep.
  bool any_ = false;                       // A message was taken in.
  v1::CreateVolumeRequest wanted_;
  v1::CreateVolumeRequest settings_;  // With those of the first image.
  archive::VolumeSink sink_;
  qcow2::StreamReader reader_;
  bool published_ = false;

  grpc::ByteBuffer incoming_;  // gRPC's while it reads.

  // The executor has a message; another one may have arrived meanwhile.
  bool busy_ ABSL_GUARDED_BY(mu_) = false;
  bool arrived_ ABSL_GUARDED_BY(mu_) = false;
  bool all_came_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_RESTORE_STREAM_H_
