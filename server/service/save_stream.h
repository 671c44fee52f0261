// One call of BlockService.Save.
#ifndef RAMVOL_SERVER_SERVICE_SAVE_STREAM_H_
#define RAMVOL_SERVER_SERVICE_SAVE_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "qcow2/stream_writer.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/access/sessions.h"
#include "server/archive/volume_source.h"
#include "server/engine/volume.h"
#include "server/service/image_call.h"
#include "server/service/image_streams.h"

namespace ramvol::service {

// Makes a message of the image on the executor while the one before it is being
// sent, at the pace at which the client reads. What it holds is charged before
// it begins; it waits for that.
class SaveStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                         public ImageCall {
 public:
  // Answers a call.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Answer(
      ImageStreams* streams, grpc::CallbackServerContext* context,
      const grpc::ByteBuffer* request);

  SaveStream(ImageStreams* streams, grpc::CallbackServerContext* context,
             v1::SaveRequest request);
  ~SaveStream() override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override { Cancel(); }
  void OnDone() override { Leave(); }

 private:
  static constexpr size_t kMessageBytes = size_t{1} << 20;
  // A message that is made and one that is sent, what the source keeps, and the
  // groups of most images.
  static constexpr size_t kHeldBytes =
      4 * kMessageBytes + archive::VolumeSource::kMaxKeptBytes;

  void Begin() override { Continue(); }
  void Step() override;
  void FinishCall(const grpc::Status& status) override { Finish(status); }
  void Send(grpc::ByteBuffer message) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends it when one of the client's rights is taken away.
  void StayAllowed();

  // Finds what is to be saved, and takes the snapshot.
  absl::Status Open();
  absl::Status Attach(const std::string& name,
                      std::shared_ptr<engine::Volume>* volume,
                      std::optional<engine::Attachment>* attachment);
  grpc::ByteBuffer FirstMessage() const;

  const v1::SaveRequest request_;
  // Constant after Start.
  std::vector<access::Sessions::Entry> session_entries_;

  // The executor's, one task at a time.
  std::shared_ptr<engine::Volume> hidden_;  // A snapshot of its own, or null.
  std::shared_ptr<engine::Volume> snapshot_;
  std::shared_ptr<engine::Volume> since_;
  std::optional<engine::Attachment> attachment_;
  std::optional<engine::Attachment> since_attachment_;
  std::unique_ptr<archive::VolumeSource> source_;
  std::unique_ptr<qcow2::StreamWriter> writer_;
  grpc::ByteBuffer outgoing_;  // gRPC's while it writes.
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_SAVE_STREAM_H_
