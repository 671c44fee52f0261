// The numbers of the NBD protocol, by their names in the protocol document
// (NetworkBlockDevice/nbd, doc/proto.md; extended headers included).
#ifndef RAMVOL_BASE_NBD_CONSTANTS_H_
#define RAMVOL_BASE_NBD_CONSTANTS_H_

#include <cstddef>
#include <cstdint>

namespace ramvol::nbd {

inline constexpr uint64_t kInitMagic = 0x4e42444d41474943;    // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr uint32_t kExtendedReplyMagic = 0x6e8a278c;

// Longest string, such as an export's name.
inline constexpr size_t kMaxStringBytes = 4096;

// Handshake flags; the client's have the same values.
inline constexpr uint16_t kFlagFixedNewstyle = 1 << 0;
inline constexpr uint16_t kFlagNoZeroes = 1 << 1;
// Zeroes after the answer to NBD_OPT_EXPORT_NAME, unless kFlagNoZeroes is set.
inline constexpr size_t kExportNamePaddingBytes = 124;

enum class Option : uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
  kStructuredReply = 8,
  kListMetaContext = 9,
  kSetMetaContext = 10,
  kExtendedHeaders = 11,
};

// Set in all errors.
inline constexpr uint32_t kOptionReplyError = uint32_t{1} << 31;
enum class OptionReply : uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kMetaContext = 4,
  kErrUnsupported = (1u << 31) + 1,
  kErrPolicy = (1u << 31) + 2,
  kErrInvalid = (1u << 31) + 3,
  kErrTlsRequired = (1u << 31) + 5,
  kErrUnknown = (1u << 31) + 6,
  kErrShutdown = (1u << 31) + 7,
  kErrTooBig = (1u << 31) + 9,
  kErrExtendedHeaderRequired = (1u << 31) + 10,
};

enum class Info : uint16_t {
  kExport = 0,
  kName = 1,
  kBlockSize = 3,
};

// Transmission flags.
inline constexpr uint16_t kHasFlags = 1 << 0;
inline constexpr uint16_t kReadOnly = 1 << 1;
inline constexpr uint16_t kSendFlush = 1 << 2;
inline constexpr uint16_t kSendFua = 1 << 3;
inline constexpr uint16_t kSendTrim = 1 << 5;
inline constexpr uint16_t kSendWriteZeroes = 1 << 6;
inline constexpr uint16_t kSendDf = 1 << 7;
inline constexpr uint16_t kCanMultiConn = 1 << 8;
inline constexpr uint16_t kSendCache = 1 << 10;
inline constexpr uint16_t kSendFastZero = 1 << 11;

enum class Command : uint16_t {
  kRead = 0,
  kWrite = 1,
  kDisconnect = 2,
  kFlush = 3,
  kTrim = 4,
  kCache = 5,
  kWriteZeroes = 6,
  kBlockStatus = 7,
};

// Command flags.
inline constexpr uint16_t kCmdFua = 1 << 0;
inline constexpr uint16_t kCmdNoHole = 1 << 1;
inline constexpr uint16_t kCmdDf = 1 << 2;
inline constexpr uint16_t kCmdReqOne = 1 << 3;
inline constexpr uint16_t kCmdFastZero = 1 << 4;
inline constexpr uint16_t kCmdPayloadLen = 1 << 5;

// Structured and extended replies.
inline constexpr uint16_t kReplyDone = 1 << 0;
enum class ReplyType : uint16_t {
  kNone = 0,
  kOffsetData = 1,
  kOffsetHole = 2,
  kBlockStatus = 5,
  kBlockStatusExt = 6,
  kError = (1 << 15) + 1,
};

// Status flags of the context base:allocation.
inline constexpr uint32_t kStateHole = 1 << 0;
inline constexpr uint32_t kStateZero = 1 << 1;
// Of the context "qemu:dirty-bitmap:NAME": it may differ.
inline constexpr uint32_t kStateDirty = 1 << 0;

enum class Error : uint32_t {
  kNone = 0,
  kPerm = 1,
  kIo = 5,
  kInval = 22,
  kNoSpace = 28,
  kOverflow = 75,
  kNotSupported = 95,
  kShutdown = 108,
};

// Values of NBD_INFO_BLOCK_SIZE. Any byte range works; the engine stores whole
// blocks.
inline constexpr uint32_t kMinBlockBytes = 1;
inline constexpr uint32_t kPreferredBlockBytes = 4096;
inline constexpr uint32_t kMaxPayloadBytes = 32 << 20;

}  // namespace ramvol::nbd

#endif  // RAMVOL_BASE_NBD_CONSTANTS_H_
