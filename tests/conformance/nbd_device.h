// A volume through NBD, by libnbd.
#ifndef RAMVOL_TESTS_CONFORMANCE_NBD_DEVICE_H_
#define RAMVOL_TESTS_CONFORMANCE_NBD_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "tests/conformance/device.h"

struct nbd_handle;

namespace ramvol::testing {

// Connects to a Unix socket. A libnbd handle carries out one call at a time:
// each call takes a handle that is free, or makes another one, so that threads
// use connections of their own.
//
// NBD's errors become the codes that ways with better errors have: EINVAL past
// the end for reads, trims and extents, and ENOSPC past the end for what
// stores, are OUT_OF_RANGE; other ENOSPC RESOURCE_EXHAUSTED, EPERM
// FAILED_PRECONDITION, EIO DATA_LOSS, ESHUTDOWN NOT_FOUND, also for all calls
// after it. Others are UNKNOWN.
class NbdDevice : public Device {
 public:
  // The longest range that compact headers can say, of whole blocks.
  static constexpr int64_t kMaxRangeBytes = (int64_t{1} << 32) - 4096;

  // A failure to connect fails the test case, and each call after it.
  NbdDevice(std::string socket, std::string name);
  ~NbdDevice() override;

  bool read_only() override { return read_only_; }
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) override;
  absl::Status Write(int64_t offset, const std::string& data) override;
  absl::Status Trim(int64_t offset, int64_t length) override;
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool no_hole) override;
  absl::Status Flush() override;
  absl::StatusOr<std::vector<DeviceExtent>> Extents(int64_t offset,
                                                    int64_t length) override;

 private:
  struct Closer {
    void operator()(nbd_handle* handle) const;
  };
  using Handle = std::unique_ptr<nbd_handle, Closer>;

  absl::StatusOr<Handle> Connect() const;
  // Calls `call` with a handle; what fails becomes a Status. `past_end_error`
  // is the errno that a range past the end must have.
  template <typename Call>
  absl::Status Run(int64_t offset, int64_t length, int past_end_error,
                   Call call) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ToStatus(int error, const char* message, bool is_past,
                        int past_end_error) ABSL_LOCKS_EXCLUDED(mu_);

  const std::string socket_;
  const std::string name_;
  int64_t size_bytes_ = 0;
  bool read_only_ = false;

  Mutex mu_;
  std::vector<Handle> free_ ABSL_GUARDED_BY(mu_);
  bool gone_ ABSL_GUARDED_BY(mu_) = false;  // ESHUTDOWN was seen.
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_CONFORMANCE_NBD_DEVICE_H_
