// A VolumeConnection for tests of code that uses the SDK.
//
//   auto connection = std::make_shared<MockVolumeConnection>();
//   EXPECT_CALL(*connection, ReadAsync(4096, SizeIs(5), _))
//       .WillOnce(ReadGives("hello"));
//   EXPECT_CALL(*connection, WriteAsync(0, _, _))
//       .WillOnce(OperationGives(absl::ResourceExhaustedError("full")));
//   ramvol::RemoteVolume volume(connection);
#ifndef RAMVOL_CLIENT_MOCKS_MOCK_VOLUME_CONNECTION_H_
#define RAMVOL_CLIENT_MOCKS_MOCK_VOLUME_CONNECTION_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/extent.h"
#include "client/volume_connection.h"
#include "gmock/gmock.h"

namespace ramvol {

// An action for any operation but ExtentsAsync and ChangesAsync. Completes the
// operation with `status` at once, on the caller's thread.
inline auto OperationGives(absl::Status status) {
  return [status = std::move(status)](auto&&... arguments) {
    auto all = std::forward_as_tuple(arguments...);
    std::get<sizeof...(arguments) - 1>(all)(status);
  };
}

// An action for ReadAsync. Returns `data`, cut to the reader's length or filled
// up with zeroes.
inline auto ReadGives(std::string data) {
  return [data = std::move(data)](int64_t, absl::Span<char> out,
                                  VolumeConnection::Done done) {
    const size_t size = std::min(out.size(), data.size());
    std::copy_n(data.begin(), size, out.begin());
    std::fill(out.begin() + size, out.end(), '\0');
    done(absl::OkStatus());
  };
}

// An action for ExtentsAsync.
inline auto ExtentsGive(absl::StatusOr<std::vector<Extent>> extents) {
  return [extents = std::move(extents)](int64_t, int64_t, int32_t,
                                        VolumeConnection::ExtentsDone done) {
    done(extents);
  };
}

// An action for ChangesAsync.
inline auto ChangesGive(absl::StatusOr<std::vector<ChangedExtent>> changes) {
  return [changes = std::move(changes)](
             const std::string&, int64_t, int64_t, int32_t,
             VolumeConnection::ChangesDone done) { done(changes); };
}

// An operation without an expectation fails with UNIMPLEMENTED.
class MockVolumeConnection : public VolumeConnection {
 public:
  MockVolumeConnection() {
    const absl::Status unexpected =
        absl::UnimplementedError("the mock expects no such operation");
    ON_CALL(*this, ReadAsync).WillByDefault(OperationGives(unexpected));
    ON_CALL(*this, WriteAsync).WillByDefault(OperationGives(unexpected));
    ON_CALL(*this, TrimAsync).WillByDefault(OperationGives(unexpected));
    ON_CALL(*this, WriteZeroesAsync).WillByDefault(OperationGives(unexpected));
    ON_CALL(*this, FlushAsync).WillByDefault(OperationGives(unexpected));
    ON_CALL(*this, ExtentsAsync).WillByDefault(ExtentsGive(unexpected));
    ON_CALL(*this, ChangesAsync).WillByDefault(ChangesGive(unexpected));
  }

  MOCK_METHOD(void, ReadAsync,
              (int64_t offset, absl::Span<char> out, Done done), (override));
  MOCK_METHOD(void, WriteAsync,
              (int64_t offset, std::string_view data, Done done), (override));
  MOCK_METHOD(void, TrimAsync, (int64_t offset, int64_t length, Done done),
              (override));
  MOCK_METHOD(void, WriteZeroesAsync,
              (int64_t offset, int64_t length, bool no_hole, Done done),
              (override));
  MOCK_METHOD(void, FlushAsync, (Done done), (override));
  MOCK_METHOD(void, ExtentsAsync,
              (int64_t offset, int64_t length, int32_t max_extents,
               ExtentsDone done),
              (override));
  MOCK_METHOD(void, ChangesAsync,
              (const std::string& since, int64_t offset, int64_t length,
               int32_t max_extents, ChangesDone done),
              (override));
  MOCK_METHOD(int64_t, size_bytes, (), (const, override));
  MOCK_METHOD(bool, read_only, (), (const, override));
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_MOCKS_MOCK_VOLUME_CONNECTION_H_
