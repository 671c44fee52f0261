#include "tests/conformance/nbd_device.h"

#include <errno.h>
#include <libnbd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace ramvol::testing {
namespace {

// Whole blocks to spare, and any server sends so many extents in one answer.
constexpr int64_t kMaxStatusBytes = int64_t{1} << 30;

using Entries = std::vector<std::pair<uint32_t, uint32_t>>;

int AddEntries(void* out, const char* /*context*/, uint64_t /*offset*/,
               uint32_t* entries, size_t count, int* /*error*/) {
  for (size_t i = 0; i + 1 < count; i += 2) {
    static_cast<Entries*>(out)->emplace_back(entries[i], entries[i + 1]);
  }
  return 0;
}

// Adds what lies before `end`; neighbours in one state become one extent.
void Append(const Entries& entries, int64_t end, int64_t* offset,
            std::vector<DeviceExtent>* extents) {
  for (const auto& [bytes, state] : entries) {
    const int64_t length = std::min<int64_t>(bytes, end - *offset);
    const bool hole = (state & LIBNBD_STATE_HOLE) != 0;
    if (length == 0) return;
    if (!extents->empty() && extents->back().hole == hole) {
      extents->back().length += length;
    } else {
      extents->push_back({*offset, length, hole});
    }
    *offset += length;
  }
}

}  // namespace

void NbdDevice::Closer::operator()(nbd_handle* handle) const {
  if (nbd_aio_is_ready(handle) == 1) nbd_shutdown(handle, 0);
  nbd_close(handle);
}

NbdDevice::NbdDevice(std::string socket, std::string name)
    : socket_(std::move(socket)), name_(std::move(name)) {
  absl::StatusOr<Handle> handle = Connect();
  if (!handle.ok()) {
    ADD_FAILURE() << handle.status();
    return;
  }
  size_bytes_ = nbd_get_size(handle->get());
  read_only_ = nbd_is_read_only(handle->get()) == 1;
  MutexLock lock(&mu_);
  free_.push_back(*std::move(handle));
}

NbdDevice::~NbdDevice() = default;

absl::StatusOr<NbdDevice::Handle> NbdDevice::Connect() const {
  Handle handle(nbd_create());
  // The server is to be tested, not libnbd's own checks.
  if (handle == nullptr || nbd_set_strict_mode(handle.get(), 0) != 0 ||
      nbd_set_export_name(handle.get(), name_.c_str()) != 0 ||
      nbd_add_meta_context(handle.get(), LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
      nbd_connect_unix(handle.get(), socket_.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("libnbd: ", nbd_get_error()));
  }
  return handle;
}

template <typename Call>
absl::Status NbdDevice::Run(int64_t offset, int64_t length, int past_end_error,
                            Call call) {
  Handle handle;
  {
    MutexLock lock(&mu_);
    if (gone_) return absl::NotFoundError("ESHUTDOWN was seen");
    if (!free_.empty()) {
      handle = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (handle == nullptr) {
    absl::StatusOr<Handle> connected = Connect();
    if (!connected.ok()) return connected.status();
    handle = *std::move(connected);
  }
  absl::Status status;
  if (call(handle.get()) != 0) {
    const bool is_past = length > size_bytes_ || offset > size_bytes_ - length;
    status =
        ToStatus(nbd_get_errno(), nbd_get_error(), is_past, past_end_error);
  }
  MutexLock lock(&mu_);
  free_.push_back(std::move(handle));
  return status;
}

absl::Status NbdDevice::ToStatus(int error, const char* message, bool is_past,
                                 int past_end_error) {
  if (is_past && error == past_end_error) {
    return absl::OutOfRangeError(message);
  }
  switch (error) {
    case EINVAL:
      return absl::InvalidArgumentError(message);
    case ENOSPC:
      return absl::ResourceExhaustedError(message);
    case EIO:
      return absl::DataLossError(message);
    case EPERM:
      return absl::FailedPreconditionError(message);
    case ESHUTDOWN: {
      MutexLock lock(&mu_);
      gone_ = true;
      return absl::NotFoundError(message);
    }
    default:
      return absl::UnknownError(absl::StrCat(message, " (", error, ")"));
  }
}

absl::StatusOr<std::string> NbdDevice::Read(int64_t offset, int64_t length) {
  std::string data(length, 'x');
  const absl::Status status =
      Run(offset, length, EINVAL, [&](nbd_handle* handle) {
        return nbd_pread(handle, data.data(), length, offset, 0);
      });
  if (!status.ok()) return status;
  return data;
}

absl::Status NbdDevice::Write(int64_t offset, const std::string& data) {
  return Run(offset, data.size(), ENOSPC, [&](nbd_handle* handle) {
    return nbd_pwrite(handle, data.data(), data.size(), offset, 0);
  });
}

absl::Status NbdDevice::Trim(int64_t offset, int64_t length) {
  return Run(offset, length, EINVAL, [&](nbd_handle* handle) {
    return nbd_trim(handle, length, offset, 0);
  });
}

absl::Status NbdDevice::WriteZeroes(int64_t offset, int64_t length,
                                    bool no_hole) {
  const uint32_t flags = no_hole ? LIBNBD_CMD_FLAG_NO_HOLE : 0;
  return Run(offset, length, ENOSPC, [&](nbd_handle* handle) {
    return nbd_zero(handle, length, offset, flags);
  });
}

absl::Status NbdDevice::Flush() {
  return Run(0, 0, 0, [](nbd_handle* handle) { return nbd_flush(handle, 0); });
}

absl::StatusOr<std::vector<DeviceExtent>> NbdDevice::Extents(int64_t offset,
                                                             int64_t length) {
  std::vector<DeviceExtent> extents;
  // Not offset + length, which may be too much.
  for (int64_t begin = offset; begin - offset < length;) {
    const int64_t part = std::min(length - (begin - offset), kMaxStatusBytes);
    Entries entries;
    const absl::Status status =
        Run(begin, part, EINVAL, [&](nbd_handle* handle) {
          const nbd_extent_callback add = {
              .callback = AddEntries, .user_data = &entries, .free = nullptr};
          return nbd_block_status(handle, part, begin, add, 0);
        });
    if (!status.ok()) return status;
    const int64_t before = begin;
    Append(entries, begin + part, &begin, &extents);
    if (begin == before) return absl::DataLossError("no extents");
  }
  return extents;
}

}  // namespace ramvol::testing
