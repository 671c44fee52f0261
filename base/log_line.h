// The events that the daemons log, and their lines. docs/logs.md describes them
// for users.
#ifndef RAMVOL_BASE_LOG_LINE_H_
#define RAMVOL_BASE_LOG_LINE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ramvol {

// kOff is above the level of every event.
enum class LogLevel : uint8_t { kInfo, kWarning, kError, kOff };
enum class LogFormat : uint8_t { kText, kJson };

// Scripts match the names: never rename one.
enum class Event : uint8_t {
  kNote,    // Of the program itself: it began, stops, got a signal.
  kFailed,  // The program cannot go on.
  kVolumeCreated,
  kVolumeChanged,  // Its settings.
  kVolumeRenamed,
  kVolumeDeleted,
  kVolumeReverted,
  kSnapshotCreated,
  kSnapshotDeleted,
  kAttached,  // A client holds a volume open.
  kDetached,
  kConnectionRefused,  // A client was not let in.
  kConnectionEnded,    // A connection was ended by the server.
  kClientSentAway,     // A client held memory that others waited for.
  kMemoryLow,          // A memory limit is near.
  kNoSpace,            // A memory limit refused a change, or the size did.
  kDataLoss,           // Memory does not hold what was written to it.
  kRequestsFail,       // Of a bridge: the server behind it answers errors.
  kRequestsSucceed,    // And no longer.
  kLeftOut,            // Events that were too many to be logged.
  kRecovered,          // Volumes that outlived an earlier server are back.
  kStateWarning,       // Something about the place where they live.
  kSaved,              // All volumes, to the --save_dir.
  kSaveFailed,         // Some or all of them are not.
  kTlsLoaded,          // Changed certificates or keys are in use.
  kTlsRefused,         // They are not, and the old ones stay.
  kAccessChanged,      // The policy or the tokens were read anew.
  kAccessWarning,      // They were not, or something is not written.
  kSocketWarning,      // A volume has no socket for virtual machines.
  kCount,
};
inline constexpr size_t kEvents = static_cast<size_t>(Event::kCount);

struct EventTraits {
  std::string_view name;
  LogLevel level;
  // The event may come with each request. It is logged once in
  // LogRate::kRepeatNs for each volume and reason.
  bool repeats;
  // Of volumes and their memory: observers hear of it.
  bool observed;
};
inline constexpr std::array<EventTraits, kEvents> kEventTraits = {{
    {"note", LogLevel::kInfo, false, false},
    {"failed", LogLevel::kError, false, false},
    {"volume_created", LogLevel::kInfo, false, true},
    {"volume_changed", LogLevel::kInfo, false, true},
    {"volume_renamed", LogLevel::kInfo, false, true},
    {"volume_deleted", LogLevel::kInfo, false, true},
    {"volume_reverted", LogLevel::kInfo, false, true},
    {"snapshot_created", LogLevel::kInfo, false, true},
    {"snapshot_deleted", LogLevel::kInfo, false, true},
    {"attached", LogLevel::kInfo, false, true},
    {"detached", LogLevel::kInfo, false, true},
    {"connection_refused", LogLevel::kWarning, false, false},
    {"connection_ended", LogLevel::kWarning, false, false},
    {"client_sent_away", LogLevel::kWarning, false, false},
    {"memory_low", LogLevel::kWarning, false, true},
    {"no_space", LogLevel::kWarning, true, true},
    {"data_loss", LogLevel::kError, true, true},
    {"requests_fail", LogLevel::kWarning, false, false},
    {"requests_succeed", LogLevel::kInfo, false, false},
    {"left_out", LogLevel::kWarning, false, false},
    {"recovered", LogLevel::kInfo, false, true},
    {"state_warning", LogLevel::kWarning, false, false},
    {"saved", LogLevel::kInfo, false, true},
    {"save_failed", LogLevel::kError, false, true},
    {"tls_loaded", LogLevel::kInfo, false, false},
    {"tls_refused", LogLevel::kWarning, false, false},
    {"access_changed", LogLevel::kInfo, false, false},
    {"access_warning", LogLevel::kWarning, false, false},
    {"socket_warning", LogLevel::kWarning, false, false},
}};

inline const EventTraits& TraitsOf(Event event) {
  return kEventTraits[static_cast<size_t>(event)];
}

// Empty fields are left out.
struct LogFields {
  std::string_view volume = {};
  std::string_view old_volume = {};  // The name before it was renamed.
  std::string_view client = {};      // Its address: "127.0.0.1:40112".
  std::string_view over = {};    // "nbd", "io", "grpc", "http", "vhost-user".
  std::string_view reason = {};  // As errors have it, or the cause of a metric.
  std::string_view message = {};  // For people.
  uint64_t count = 0;
  // Of the volume, for observers; lines have its name.
  uint64_t uid = 0;
};

// Returns one line, with the line end. Control characters and quotation marks
// in the fields are escaped.
//   2026-11-29T03:12:50.000Z ramvold: info attached volume=disk over=nbd: text
//   {"time":"2026-11-29T03:12:50.000Z","program":"ramvold",...}
std::string FormatLogLine(LogFormat format, absl::Time time,
                          std::string_view program, Event event,
                          const LogFields& fields);

// Parse the values of flags. INVALID_ARGUMENT lists the accepted values.
absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text);
absl::StatusOr<LogLevel> ParseLogLevel(std::string_view text);

}  // namespace ramvol

#endif  // RAMVOL_BASE_LOG_LINE_H_
