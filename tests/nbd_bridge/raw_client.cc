#include "tests/nbd_bridge/raw_client.h"

#include <algorithm>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/nbd_constants.h"
#include "gtest/gtest.h"
#include "nbd_bridge/protocol/wire.h"

namespace ramvol::testing {

using nbd::Get;
using nbd::Put;
using nbd::WireWriter;

namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);

absl::string_view View(std::string_view text) {
  return {text.data(), text.size()};
}

uint32_t Size(std::string_view text) {
  return static_cast<uint32_t>(text.size());
}

}  // namespace

std::string Answer::Data() const {
  std::vector<Piece> sorted = pieces;
  std::sort(sorted.begin(), sorted.end(),
            [](const Piece& a, const Piece& b) { return a.offset < b.offset; });
  std::string data;
  for (const Piece& piece : sorted) data += piece.data;
  return data;
}

std::string RawClient::Receive(size_t bytes) {
  std::string data(bytes, '\0');
  if (broken_ ||
      !socket_.ReceiveAll(absl::MakeSpan(data), absl::Now() + kPatience)) {
    ADD_FAILURE() << "the server does not answer";
    broken_ = true;
    return std::string(bytes, '\0');
  }
  return data;
}

void RawClient::Greet(uint32_t flags) {
  const std::string greeting = Receive(18);
  EXPECT_EQ(Get<uint64_t>(&greeting[0]), nbd::kInitMagic);
  EXPECT_EQ(Get<uint64_t>(&greeting[8]), nbd::kOptionMagic);
  EXPECT_EQ(Get<uint16_t>(&greeting[16]), 3);
  EXPECT_TRUE(socket_.SendAll(WireWriter().Number(flags).text(),
                              absl::Now() + kPatience));
}

void RawClient::SendOption(uint32_t option, std::string_view data) {
  const std::string text = WireWriter()
                               .Number(nbd::kOptionMagic)
                               .Number(option)
                               .Number(Size(data))
                               .Bytes(View(data))
                               .text();
  EXPECT_TRUE(socket_.SendAll(text, absl::Now() + kPatience));
}

OptionAnswer RawClient::ReadOptionAnswer() {
  const std::string head = Receive(20);
  if (broken_) return {};
  EXPECT_EQ(Get<uint64_t>(&head[0]), nbd::kOptionReplyMagic);
  OptionAnswer answer;
  answer.option = Get<uint32_t>(&head[8]);
  answer.type = static_cast<nbd::OptionReply>(Get<uint32_t>(&head[12]));
  answer.data = Receive(Get<uint32_t>(&head[16]));
  return answer;
}

OptionAnswer RawClient::Ask(nbd::Option option, std::string_view data,
                            std::vector<OptionAnswer>* earlier) {
  SendOption(option, data);
  for (;;) {
    OptionAnswer answer = ReadOptionAnswer();
    EXPECT_EQ(answer.option, static_cast<uint32_t>(option));
    const bool more = answer.type == nbd::OptionReply::kServer ||
                      answer.type == nbd::OptionReply::kInfo ||
                      answer.type == nbd::OptionReply::kMetaContext;
    if (!more || broken_) return answer;
    if (earlier != nullptr) earlier->push_back(answer);
  }
}

std::string RawClient::GoData(std::string_view name,
                              const std::vector<uint16_t>& infos) {
  WireWriter writer;
  writer.Number(Size(name)).Bytes(View(name));
  writer.Number(static_cast<uint16_t>(infos.size()));
  for (const uint16_t info : infos) writer.Number(info);
  return writer.text();
}

std::string RawClient::MetaData(std::string_view name,
                                const std::vector<std::string>& queries) {
  WireWriter writer;
  writer.Number(Size(name)).Bytes(View(name));
  writer.Number(static_cast<uint32_t>(queries.size()));
  for (const std::string& query : queries) {
    writer.Number(Size(query)).Bytes(query);
  }
  return writer.text();
}

void RawClient::Enter(std::string_view name, nbd::Style style,
                      bool block_status) {
  Greet();
  using nbd::OptionReply;
  if (style == nbd::Style::kStructured) {
    EXPECT_EQ(Ask(nbd::Option::kStructuredReply).type, OptionReply::kAck);
  } else if (style == nbd::Style::kExtended) {
    EXPECT_EQ(Ask(nbd::Option::kExtendedHeaders).type, OptionReply::kAck);
  }
  if (block_status && style != nbd::Style::kSimple) {
    EXPECT_EQ(
        Ask(nbd::Option::kSetMetaContext, MetaData(name, {"base:allocation"}))
            .type,
        OptionReply::kAck);
  }
  EXPECT_EQ(Ask(nbd::Option::kGo, GoData(name)).type, OptionReply::kAck);
  style_ = style;
}

std::string RawClient::Encode(nbd::Style style, nbd::RequestHeader header,
                              std::string_view payload) {
  const bool extended = style == nbd::Style::kExtended;
  if (extended && !payload.empty()) header.flags |= nbd::kCmdPayloadLen;
  WireWriter writer;
  writer.Number(extended ? nbd::kExtendedRequestMagic : nbd::kRequestMagic)
      .Number(header.flags)
      .Number(header.command)
      .Number(header.cookie)
      .Number(header.offset);
  if (extended) {
    writer.Number(header.length);
  } else {
    writer.Number(static_cast<uint32_t>(header.length));
  }
  return writer.Bytes(View(payload)).text();
}

void RawClient::Send(nbd::RequestHeader header, std::string_view payload) {
  EXPECT_TRUE(socket_.SendAll(Encode(style_, header, payload),
                              absl::Now() + kPatience));
}

void RawClient::Send(nbd::Command command, uint64_t cookie, uint64_t offset,
                     uint64_t length, uint16_t flags) {
  Send({flags, static_cast<uint16_t>(command), cookie, offset, length});
}

void RawClient::SendWrite(uint64_t cookie, uint64_t offset,
                          std::string_view data, uint16_t flags) {
  Send({flags, static_cast<uint16_t>(nbd::Command::kWrite), cookie, offset,
        data.size()},
       data);
}

Answer RawClient::Read(uint64_t read_bytes) {
  Answer answer;
  if (style_ == nbd::Style::kSimple) {
    const std::string head = Receive(16);
    EXPECT_EQ(Get<uint32_t>(&head[0]), nbd::kSimpleReplyMagic);
    answer.error = static_cast<nbd::Error>(Get<uint32_t>(&head[4]));
    answer.cookie = Get<uint64_t>(&head[8]);
    if (answer.error == nbd::Error::kNone && read_bytes != 0) {
      answer.pieces.push_back({0, Receive(read_bytes), false});
    }
    return answer;
  }
  while (!ReadChunk(answer)) {
  }
  return answer;
}

bool RawClient::ReadChunk(Answer& answer) {
  const bool extended = style_ == nbd::Style::kExtended;
  const std::string head = Receive(extended ? 32 : 20);
  if (broken_) return true;
  EXPECT_EQ(Get<uint32_t>(&head[0]),
            extended ? nbd::kExtendedReplyMagic : nbd::kStructuredReplyMagic);
  const auto flags = Get<uint16_t>(&head[4]);
  const auto type = static_cast<nbd::ReplyType>(Get<uint16_t>(&head[6]));
  answer.cookie = Get<uint64_t>(&head[8]);
  const std::string payload =
      Receive(extended ? Get<uint64_t>(&head[24]) : Get<uint32_t>(&head[16]));
  switch (type) {
    case nbd::ReplyType::kNone:
      EXPECT_EQ(payload, "");
      EXPECT_EQ(flags, nbd::kReplyDone);
      break;
    case nbd::ReplyType::kOffsetData:
      EXPECT_GT(payload.size(), 8);
      answer.pieces.push_back(
          {Get<uint64_t>(&payload[0]), payload.substr(8), false});
      break;
    case nbd::ReplyType::kOffsetHole:
      EXPECT_EQ(payload.size(), 12);
      answer.pieces.push_back({Get<uint64_t>(&payload[0]),
                               std::string(Get<uint32_t>(&payload[8]), '\0'),
                               true});
      break;
    case nbd::ReplyType::kBlockStatus:
      AddStatuses(payload, false, answer);
      break;
    case nbd::ReplyType::kBlockStatusExt:
      EXPECT_TRUE(extended);
      AddStatuses(payload, true, answer);
      break;
    case nbd::ReplyType::kError:
      AddError(payload, answer);
      break;
    default:
      ADD_FAILURE() << "chunk of type " << static_cast<int>(type);
  }
  return (flags & nbd::kReplyDone) != 0;
}

void RawClient::AddError(std::string_view payload, Answer& answer) {
  ASSERT_GE(payload.size(), 6);
  answer.error = static_cast<nbd::Error>(Get<uint32_t>(&payload[0]));
  answer.message = std::string(payload.substr(6));
  EXPECT_EQ(Get<uint16_t>(&payload[4]), answer.message.size());
}

void RawClient::AddStatuses(std::string_view payload, bool extended,
                            Answer& answer) {
  const size_t head = extended ? 8 : 4;
  const size_t each = extended ? 16 : 8;
  ASSERT_GE(payload.size(), head + each);
  ASSERT_EQ((payload.size() - head) % each, 0);
  for (size_t at = head; at < payload.size(); at += each) {
    const char* item = &payload[at];
    answer.statuses.push_back(
        {extended ? Get<uint64_t>(item) : Get<uint32_t>(item),
         Get<uint32_t>(item + each - 4)});
  }
}

bool RawClient::SeesEnd() {
  char byte = 0;
  return !socket_.ReceiveAll({&byte, 1}, absl::Now() + kPatience);
}

}  // namespace ramvol::testing
