#include "nbd_bridge/error.h"

namespace ramvol::nbd {

Error ToNbdError(const absl::Status& status, Command command) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return Error::kNone;
    case absl::StatusCode::kInvalidArgument:
      return Error::kInval;
    case absl::StatusCode::kOutOfRange:
      return Stores(command) ? Error::kNoSpace : Error::kInval;
    case absl::StatusCode::kResourceExhausted:
      return Changes(command) ? Error::kNoSpace : Error::kIo;
    case absl::StatusCode::kFailedPrecondition:
      return Changes(command) ? Error::kPerm : Error::kIo;
    case absl::StatusCode::kNotFound:
      return Error::kShutdown;
    default:
      return Error::kIo;
  }
}

ErrorKind KindOf(Error error) {
  switch (error) {
    case Error::kNone:
      return ErrorKind::kNone;
    case Error::kPerm:
      return ErrorKind::kPerm;
    case Error::kInval:
      return ErrorKind::kInval;
    case Error::kNoSpace:
      return ErrorKind::kNoSpace;
    case Error::kOverflow:
      return ErrorKind::kOverflow;
    case Error::kNotSupported:
      return ErrorKind::kNotSupported;
    case Error::kShutdown:
      return ErrorKind::kShutdown;
    case Error::kIo:
      break;
  }
  return ErrorKind::kIo;
}

CommandKind KindOf(uint16_t command) {
  switch (static_cast<Command>(command)) {
    case Command::kRead:
      return CommandKind::kRead;
    case Command::kWrite:
      return CommandKind::kWrite;
    case Command::kFlush:
      return CommandKind::kFlush;
    case Command::kTrim:
      return CommandKind::kTrim;
    case Command::kCache:
      return CommandKind::kCache;
    case Command::kWriteZeroes:
      return CommandKind::kWriteZeroes;
    case Command::kBlockStatus:
      return CommandKind::kBlockStatus;
    case Command::kDisconnect:
      break;
  }
  return CommandKind::kUnknown;
}

bool Stores(Command command) {
  return command == Command::kWrite || command == Command::kWriteZeroes;
}

bool Changes(Command command) {
  return Stores(command) || command == Command::kTrim;
}

}  // namespace ramvol::nbd
