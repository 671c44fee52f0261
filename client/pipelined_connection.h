// The VolumeConnection that Client::Open gives.
#ifndef RAMVOL_CLIENT_PIPELINED_CONNECTION_H_
#define RAMVOL_CLIENT_PIPELINED_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/pipeline.h"
#include "client/timer.h"
#include "client/volume_connection.h"

namespace ramvol {

// Submits operations to a pipeline. Its destructor releases the pipeline, with
// `wait` (see VolumePipeline::Release). Thread-safe.
class PipelinedConnection : public VolumeConnection {
 public:
  PipelinedConnection(std::shared_ptr<VolumePipeline> pipeline, bool wait);
  ~PipelinedConnection() override;

  void ReadAsync(int64_t offset, absl::Span<char> out, Done done) override;
  void WriteAsync(int64_t offset, std::string_view data, Done done) override;
  void TrimAsync(int64_t offset, int64_t length, Done done) override;
  void WriteZeroesAsync(int64_t offset, int64_t length, bool no_hole,
                        Done done) override;
  void FlushAsync(Done done) override;
  void ExtentsAsync(int64_t offset, int64_t length, int32_t max_extents,
                    ExtentsDone done) override;
  void ChangesAsync(const std::string& since, int64_t offset, int64_t length,
                    int32_t max_extents, ChangesDone done) override;

  void Together(absl::FunctionRef<void()> start) override;

  int64_t size_bytes() const override;
  bool read_only() const override;

 private:
  const std::shared_ptr<VolumePipeline> pipeline_;
  const bool wait_;
};

// Opens `volume` over `transport`, which has options.channels channels. Waits
// until the first stream is open.
//
// Errors: the server's; UNAVAILABLE after reconnect_timeout; DEADLINE_EXCEEDED
// after timeout; FAILED_PRECONDITION in a callback of the SDK.
absl::StatusOr<std::shared_ptr<VolumeConnection>> OpenPipelined(
    const std::string& volume, const ClientOptions& options,
    std::shared_ptr<IoTransport> transport, std::shared_ptr<Timer> timer,
    std::shared_ptr<ClientCounters> counters =
        std::make_shared<ClientCounters>(),
    const OpenOptions& open_options = {});

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_PIPELINED_CONNECTION_H_
