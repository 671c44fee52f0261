#include "nbd_bridge/reply.h"

#include <algorithm>
#include <cstring>

#include "absl/container/inlined_vector.h"
#include "nbd_bridge/protocol/wire.h"

namespace ramvol::nbd {
namespace {

// About the most chunks of one read's reply. Shorter holes are sent as zeroes.
constexpr uint64_t kMaxChunks = 64;

// A part of what was read.
struct Run {
  uint64_t begin = 0;  // Relative to the request's offset.
  uint64_t end = 0;
  bool hole = false;
};
using Runs = absl::InlinedVector<Run, 2>;

bool IsZero(const char* bytes, size_t count) {
  constexpr size_t kHead = 16;
  static constexpr char kZeroes[kHead] = {};
  if (std::memcmp(bytes, kZeroes, std::min(count, kHead)) != 0) return false;
  return count <= kHead ||
         std::memcmp(bytes, bytes + kHead, count - kHead) == 0;
}

uint64_t RoundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Divides a read's data into holes and data. Looks at whole units, aligned in
// the volume; a unit is at least one block and at least 1/kMaxChunks of the
// read.
Runs FindRuns(const Request& request) {
  const uint64_t length = request.header.length;
  const uint64_t unit = std::max<uint64_t>(
      kPreferredBlockBytes, RoundUp(length / kMaxChunks, kPreferredBlockBytes));
  Runs runs;
  uint64_t begin = 0;
  while (begin < length) {
    const uint64_t into_unit = (request.header.offset + begin) % unit;
    const uint64_t end = std::min(length, begin + unit - into_unit);
    const bool hole = IsZero(request.buffer.get() + begin, end - begin);
    if (runs.empty() || runs.back().hole != hole) {
      runs.push_back({begin, end, hole});
    } else {
      runs.back().end = end;
    }
    begin = end;
  }
  return runs;
}

// Writes reply headers into the request and appends to its parts.
class PartsBuilder {
 public:
  // `room` bounds the bytes of all heads together. Parts point to them, so the
  // memory must not move.
  PartsBuilder(Request& request, size_t room) : request_(request) {
    if (room <= sizeof(request.head)) {
      next_ = request.head;
    } else {
      request.text.resize(room);
      next_ = request.text.data();
    }
  }

  char* next() const { return next_; }
  // The bytes from next() to `end` have been written and become a part.
  void Head(char* end) {
    Part(next_, static_cast<size_t>(end - next_));
    next_ = end;
  }
  void Part(char* bytes, size_t count) {
    request_.parts.push_back({bytes, count});
  }

 private:
  Request& request_;
  char* next_;
};

void AddRun(Style style, Request& request, const Run& run, bool last,
            PartsBuilder& parts) {
  const uint16_t flags = last ? kReplyDone : 0;
  const uint64_t offset = request.header.offset + run.begin;
  const uint64_t length = run.end - run.begin;
  if (run.hole) {
    char* end =
        PutChunk(parts.next(), style, request.header, flags,
                 ReplyType::kOffsetHole, sizeof(offset) + sizeof(uint32_t));
    end = Put(end, offset);
    // Fits: a read has at most kMaxPayloadBytes.
    parts.Head(Put(end, static_cast<uint32_t>(length)));
    return;
  }
  char* end = PutChunk(parts.next(), style, request.header, flags,
                       ReplyType::kOffsetData, sizeof(offset) + length);
  parts.Head(Put(end, offset));
  parts.Part(request.buffer.get() + run.begin, length);
}

void BuildRead(Style style, Request& request) {
  const uint64_t length = request.header.length;
  if (style == Style::kSimple) {
    PartsBuilder parts(request, kMaxReplyHeaderBytes);
    parts.Head(
        PutSimpleReply(parts.next(), request.header.cookie, Error::kNone));
    parts.Part(request.buffer.get(), length);
    return;
  }
  Runs runs;
  if (request.all_hole) {
    runs = {{0, length, true}};
  } else if ((request.header.flags & kCmdDf) != 0) {
    runs = {{0, length, false}};
  } else {
    runs = FindRuns(request);
  }
  PartsBuilder parts(request, runs.size() * sizeof(request.head));
  for (const Run& run : runs) {
    AddRun(style, request, run, &run == &runs.back(), parts);
  }
}

size_t StatusPayload(Style style, const ContextExtents& status) {
  return style == Style::kExtended ? 8 + status.extents.size() * 16
                                   : 4 + status.extents.size() * 8;
}

uint32_t StateOf(const MetaContext& context, const block::Extent& extent) {
  if (!context.snapshot.empty()) return extent.changed ? kStateDirty : 0;
  return extent.hole ? kStateHole | kStateZero : 0;
}

char* PutExtents(Style style, const ContextExtents& status, char* end) {
  const bool extended = style == Style::kExtended;
  end = Put(end, status.context->id);
  if (extended) end = Put(end, static_cast<uint32_t>(status.extents.size()));
  for (const block::Extent& extent : status.extents) {
    if (extended) {
      end = Put(end, extent.length);
      // Extended flags have 64 bits; the upper half is zero.
      end = Put(end, uint32_t{0});
    } else {
      // Fits: without extended headers, the request's length has 32 bits.
      end = Put(end, static_cast<uint32_t>(extent.length));
    }
    end = Put(end, StateOf(*status.context, extent));
  }
  return end;
}

// One chunk for each context.
void BuildBlockStatus(Style style, Request& request) {
  size_t room = 0;
  for (const ContextExtents& status : request.statuses) {
    room += kMaxReplyHeaderBytes + StatusPayload(style, status);
  }
  PartsBuilder parts(request, room);
  for (const ContextExtents& status : request.statuses) {
    const bool last = &status == &request.statuses.back();
    char* end = PutChunk(parts.next(), style, request.header,
                         last ? kReplyDone : uint16_t{0},
                         style == Style::kExtended ? ReplyType::kBlockStatusExt
                                                   : ReplyType::kBlockStatus,
                         StatusPayload(style, status));
    parts.Head(PutExtents(style, status, end));
  }
}

void BuildStatus(Style style, Request& request) {
  const Error error = request.error;
  const bool simple = style == Style::kSimple;
  const size_t message =
      simple || error == Error::kNone
          ? 0
          : std::min(request.message.size(), kMaxStringBytes);
  PartsBuilder parts(request, kMaxReplyHeaderBytes + sizeof(uint32_t) +
                                  sizeof(uint16_t) + message);
  if (simple) {
    parts.Head(PutSimpleReply(parts.next(), request.header.cookie, error));
    return;
  }
  if (error == Error::kNone) {
    parts.Head(PutChunk(parts.next(), style, request.header, kReplyDone,
                        ReplyType::kNone, 0));
    return;
  }
  char* end = PutChunk(parts.next(), style, request.header, kReplyDone,
                       ReplyType::kError,
                       sizeof(uint32_t) + sizeof(uint16_t) + message);
  end = Put(end, static_cast<uint32_t>(error));
  end = Put(end, static_cast<uint16_t>(message));
  std::copy_n(request.message.data(), message, end);
  parts.Head(end + message);
}

}  // namespace

void BuildReply(Style style, Request& request) {
  if (request.error == Error::kNone && request.command() == Command::kRead) {
    BuildRead(style, request);
  } else if (request.error == Error::kNone &&
             request.command() == Command::kBlockStatus) {
    BuildBlockStatus(style, request);
  } else {
    BuildStatus(style, request);
  }
}

}  // namespace ramvol::nbd
