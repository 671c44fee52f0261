// What a vhost-user front-end may say, and what it is answered.
#ifndef RAMVOL_VHOST_USER_SESSION_H_
#define RAMVOL_VHOST_USER_SESSION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/block/block_device.h"
#include "base/mutex.h"
#include "vhost_user/device.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/protocol/message.h"

namespace ramvol::vhost {

// One connection, without its socket. One thread calls Handle and Stop, and
// destroys it; all else is thread-safe.
class Session {
 public:
  struct Outcome {
    // To be sent, whatever the status is.
    std::optional<Message> reply;
    // An error ends the connection: the front-end broke a rule, or memory or
    // threads are short.
    absl::Status status;
  };

  // See Device.
  Session(std::unique_ptr<block::BlockDevice> device, DeviceOptions options)
      : device_(std::move(device), std::move(options)) {}

  Outcome Handle(Message message);

  // The volume has another size now: the guest is told, if it can be.
  void SetSize(uint64_t bytes) ABSL_LOCKS_EXCLUDED(backend_mu_);

  // See Device.
  void Stop() { device_.Stop(); }
  void Unblock() { device_.Unblock(); }

 private:
  // What a request answers by itself; nullopt when nothing.
  using Answer = absl::StatusOr<std::optional<Message>>;

  // No answer, or an error.
  static Answer Done(absl::Status status);

  Answer Dispatch(Message& message);
  Answer DispatchVring(Message& message);
  Answer DispatchMemory(Message& message);

  absl::Status SetFeatures(uint64_t features);
  absl::Status SetProtocolFeatures(uint64_t features);
  absl::Status SetVring(const Message& message, const VringState& state);
  absl::Status SetVringAddress(const VringAddress& address);
  Answer GetVringBase(const Message& message);
  absl::Status SetVringDescriptor(Message& message);
  absl::Status SetMemTable(const Message& message);
  absl::Status ChangeRegion(const Message& message);
  absl::Status SetLog(const Message& message);
  Answer GetInflight(const Message& message);
  absl::Status SetInflight(const Message& message);
  absl::Status SetBackend(Message& message) ABSL_LOCKS_EXCLUDED(backend_mu_);
  absl::Status SetStatus(uint64_t status);
  absl::Status Reset();
  Answer GetConfig(const Message& message);

  bool Has(ProtocolFeature feature) const {
    return (protocol_features_ & Bit(feature)) != 0;
  }

  uint64_t protocol_features_ = 0;
  uint64_t status_ = 0;

  Mutex backend_mu_;
  // Where the front-end hears of changes; closed when it does not.
  Descriptor backend_ ABSL_GUARDED_BY(backend_mu_);

  Device device_;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_SESSION_H_
