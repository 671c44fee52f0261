#include "nbd_bridge/negotiation.h"

#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/nbd_constants.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nbd_bridge/protocol/wire.h"
#include "tests/nbd_bridge/nbd_harness.h"

namespace ramvol::testing {
namespace {

using nbd::Get;
using nbd::Option;
using nbd::OptionReply;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint16_t kWritableFlags = 0b1101'0110'1101;

class NegotiationTest : public ::testing::Test {
 protected:
  NegotiationTest() {
    harness_.exports().Add("apple", 1 << 20);
    harness_.exports().Add("plum", 12345, /*read_only=*/true);
    client_ = harness_.NewClient();
  }

  // Asks for INFO or GO; the information replies by their type.
  OptionAnswer AskInfo(Option option, const std::string& name,
                       const std::vector<uint16_t>& infos = {}) {
    infos_.clear();
    return client_->Ask(option, RawClient::GoData(name, infos), &infos_);
  }

  NbdHarness harness_{/*synchronous=*/true};
  std::unique_ptr<RawClient> client_;
  std::vector<OptionAnswer> infos_;
};

TEST_F(NegotiationTest, ListsAllExportsInOrder) {
  client_->Greet();
  std::vector<OptionAnswer> exports;
  EXPECT_EQ(client_->Ask(Option::kList, "", &exports).type, OptionReply::kAck);
  ASSERT_EQ(exports.size(), 2);
  EXPECT_EQ(exports[0].data, std::string("\0\0\0\5apple", 9));
  EXPECT_EQ(exports[1].data, std::string("\0\0\0\4plum", 8));
}

TEST_F(NegotiationTest, OptionsThatTakeNoDataRefuseIt) {
  client_->Greet();
  for (const Option option : {Option::kList, Option::kStructuredReply,
                              Option::kExtendedHeaders, Option::kStartTls}) {
    const OptionAnswer answer = client_->Ask(option, "x");
    EXPECT_EQ(answer.type, OptionReply::kErrInvalid);
    EXPECT_THAT(answer.data, HasSubstr("takes no data"));
  }
}

TEST_F(NegotiationTest, InfoTellsSizeFlagsNameAndBlockSizes) {
  client_->Greet();
  EXPECT_EQ(AskInfo(Option::kInfo, "apple", {1, 3, 77}).type,
            OptionReply::kAck);
  ASSERT_EQ(infos_.size(), 3);
  const std::string& exported = infos_[0].data;
  ASSERT_EQ(exported.size(), 12);
  EXPECT_EQ(Get<uint16_t>(&exported[0]), 0);
  EXPECT_EQ(Get<uint64_t>(&exported[2]), 1 << 20);
  EXPECT_EQ(Get<uint16_t>(&exported[10]), kWritableFlags);
  EXPECT_EQ(infos_[1].data, std::string("\0\1apple", 7));
  const std::string& blocks = infos_[2].data;
  ASSERT_EQ(blocks.size(), 14);
  EXPECT_EQ(Get<uint16_t>(&blocks[0]), 3);
  EXPECT_EQ(Get<uint32_t>(&blocks[2]), 1);
  EXPECT_EQ(Get<uint32_t>(&blocks[6]), 4096);
  EXPECT_EQ(Get<uint32_t>(&blocks[10]), 32 << 20);
}

TEST_F(NegotiationTest, ReadOnlyExportsSaySo) {
  client_->Greet();
  EXPECT_EQ(AskInfo(Option::kInfo, "plum").type, OptionReply::kAck);
  const auto flags = Get<uint16_t>(&infos_[0].data[10]);
  EXPECT_EQ(flags & nbd::kReadOnly, nbd::kReadOnly);
  EXPECT_EQ(flags & (nbd::kSendTrim | nbd::kSendWriteZeroes), 0);
}

TEST_F(NegotiationTest, DfComesWithStructuredReplies) {
  client_->Greet();
  client_->Ask(Option::kStructuredReply);
  AskInfo(Option::kInfo, "apple");
  EXPECT_EQ(Get<uint16_t>(&infos_[0].data[10]), kWritableFlags | nbd::kSendDf);
}

TEST_F(NegotiationTest, UnknownExportIsRefusedByName) {
  client_->Greet();
  for (const Option option : {Option::kInfo, Option::kGo}) {
    const OptionAnswer answer = AskInfo(option, "pear");
    EXPECT_EQ(answer.type, OptionReply::kErrUnknown);
    EXPECT_THAT(answer.data, HasSubstr("\"pear\""));
    EXPECT_TRUE(infos_.empty());
  }
  EXPECT_EQ(harness_.exports().open_devices(), 0);
}

TEST_F(NegotiationTest, DamagedExportIsNotAvailable) {
  client_->Greet();
  harness_.exports().FailOpensWith(absl::DataLossError("is damaged"));
  OptionAnswer answer = AskInfo(Option::kGo, "apple");
  EXPECT_EQ(answer.type, OptionReply::kErrUnknown);
  EXPECT_THAT(answer.data, HasSubstr("is damaged"));
  // Another time, it may be.
  harness_.exports().FailOpensWith(absl::UnavailableError("is away"));
  answer = AskInfo(Option::kGo, "apple");
  EXPECT_EQ(answer.type, OptionReply::kErrShutdown);
  EXPECT_EQ(harness_.exports().open_devices(), 0);
}

TEST_F(NegotiationTest, MessagesQuoteOnlyWhatCanBeShown) {
  client_->Greet();
  const OptionAnswer answer =
      AskInfo(Option::kGo, std::string("a\0b\n\xff", 5));
  EXPECT_EQ(answer.type, OptionReply::kErrUnknown);
  EXPECT_THAT(answer.data, HasSubstr("\"a?b??\""));
}

TEST_F(NegotiationTest, ListsThousandsOfExports) {
  NbdHarness harness(/*synchronous=*/true);
  const auto volume = std::make_shared<MemoryVolume>(4096);
  for (int i = 10000; i < 20000; ++i) {
    harness.exports().Add(absl::StrCat("volume-", i), volume);
  }
  client_ = harness.NewClient();
  client_->Greet();
  std::vector<OptionAnswer> exports;
  EXPECT_EQ(client_->Ask(Option::kList, "", &exports).type, OptionReply::kAck);
  ASSERT_EQ(exports.size(), 10000);
  EXPECT_EQ(exports[9999].data.substr(4), "volume-19999");
}

TEST_F(NegotiationTest, EmptyNameNeedsADefault) {
  client_->Greet();
  const OptionAnswer answer = AskInfo(Option::kGo, "");
  EXPECT_EQ(answer.type, OptionReply::kErrUnknown);
  EXPECT_THAT(answer.data, HasSubstr("--default_export"));
}

TEST_F(NegotiationTest, EmptyNameIsTheDefault) {
  nbd::NbdServerOptions options;
  options.default_export = "plum";
  NbdHarness harness(/*synchronous=*/true, options);
  harness.exports().Add("plum", 12345);
  client_ = harness.NewClient();
  client_->Greet();
  EXPECT_EQ(AskInfo(Option::kInfo, "", {1}).type, OptionReply::kAck);
  EXPECT_EQ(infos_[1].data, std::string("\0\1plum", 6));
  // A context chosen by one of the names counts for the other.
  client_->Ask(Option::kStructuredReply);
  client_->Ask(Option::kSetMetaContext,
               RawClient::MetaData("plum", {"base:allocation"}));
  EXPECT_EQ(AskInfo(Option::kGo, "").type, OptionReply::kAck);
}

TEST_F(NegotiationTest, MalformedInfoIsRefused) {
  client_->Greet();
  const std::string good = RawClient::GoData("apple", {1});
  std::vector<std::string> bad;
  for (size_t cut = 0; cut < good.size(); ++cut) {
    bad.push_back(good.substr(0, cut));
  }
  bad.push_back(good + "x");
  bad.push_back(RawClient::GoData(std::string(4097, 'n')));
  bad.push_back(std::string("\xff\xff\xff\xff", 4) + good);
  for (const std::string& data : bad) {
    const OptionAnswer answer = client_->Ask(Option::kGo, data);
    EXPECT_EQ(answer.type, OptionReply::kErrInvalid) << data.size();
    EXPECT_THAT(answer.data, HasSubstr("malformed"));
  }
  EXPECT_EQ(AskInfo(Option::kGo, "apple").type, OptionReply::kAck);
}

TEST_F(NegotiationTest, UnknownOptionsAndTlsAreUnsupported) {
  client_->Greet();
  EXPECT_EQ(client_->Ask(Option::kStartTls).type, OptionReply::kErrUnsupported);
  EXPECT_EQ(client_->Ask(static_cast<Option>(4)).type,
            OptionReply::kErrUnsupported);
  const OptionAnswer answer = client_->Ask(static_cast<Option>(99), "data");
  EXPECT_EQ(answer.type, OptionReply::kErrUnsupported);
  EXPECT_THAT(answer.data, HasSubstr("99"));
}

TEST_F(NegotiationTest, AbortIsAcknowledgedAndEnds) {
  client_->Greet();
  EXPECT_EQ(client_->Ask(Option::kAbort, "why not").type, OptionReply::kAck);
  EXPECT_TRUE(client_->SeesEnd());
}

TEST_F(NegotiationTest, ExportNameAnswersWithPaddingUnlessItIsRefused) {
  for (const uint32_t flags : {0, 1, 3}) {
    auto client = harness_.NewClient();
    client->Greet(flags);
    client->SendOption(Option::kExportName, "apple");
    std::string answer(flags == 3 ? 10 : 134, 'x');
    ASSERT_TRUE(client->socket().ReceiveAll(absl::MakeSpan(answer),
                                            absl::Now() + absl::Seconds(60)));
    EXPECT_EQ(Get<uint64_t>(&answer[0]), 1 << 20);
    EXPECT_EQ(Get<uint16_t>(&answer[8]), kWritableFlags);
    EXPECT_EQ(answer.substr(10), std::string(answer.size() - 10, '\0'));
    client->Send(nbd::Command::kRead, 7, 0, 512);
    EXPECT_EQ(client->Read(512).Data(), std::string(512, '\0'));
  }
}

TEST_F(NegotiationTest, ExportNameOfAnUnknownExportEnds) {
  client_->Greet();
  client_->SendOption(Option::kExportName, "pear");
  EXPECT_TRUE(client_->SeesEnd());
}

TEST_F(NegotiationTest, ExtendedHeadersExcludeWhatIsOlder) {
  client_->Greet();
  EXPECT_EQ(client_->Ask(Option::kStructuredReply).type, OptionReply::kAck);
  EXPECT_EQ(client_->Ask(Option::kExtendedHeaders).type, OptionReply::kAck);
  EXPECT_EQ(client_->Ask(Option::kStructuredReply).type,
            OptionReply::kErrExtendedHeaderRequired);
  client_->SendOption(Option::kExportName, "apple");
  EXPECT_TRUE(client_->SeesEnd());
}

TEST_F(NegotiationTest, UnknownClientFlagsEnd) {
  client_->Greet(7);
  EXPECT_TRUE(client_->SeesEnd());
}

TEST_F(NegotiationTest, BadMagicEnds) {
  client_->Greet();
  EXPECT_TRUE(client_->socket().SendAll("GET / HTTP/1.1\r\n",
                                        absl::Now() + absl::Seconds(60)));
  EXPECT_TRUE(client_->SeesEnd());
}

TEST_F(NegotiationTest, TooMuchDataIsSkippedAndRefused) {
  client_->Greet();
  const std::string large(nbd::kMaxOptionBytes + 1, 'x');
  EXPECT_EQ(client_->Ask(Option::kInfo, large).type, OptionReply::kErrTooBig);
  EXPECT_EQ(AskInfo(Option::kGo, "apple").type, OptionReply::kAck);
}

// The header of an option, and all of its data but what is missing.
std::string InfoOption(size_t length, size_t missing) {
  return nbd::WireWriter()
      .Number(nbd::kOptionMagic)
      .Number(static_cast<uint32_t>(Option::kInfo))
      .Number(static_cast<uint32_t>(length))
      .Bytes(std::string(length - missing, 'x'))
      .text();
}

size_t ResidentBytes() {
  size_t total_pages = 0;
  size_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

TEST_F(NegotiationTest, TooMuchDataIsNotHeld) {
  constexpr size_t kLength = nbd::kMaxSkippedOptionBytes;
  const std::string option = InfoOption(kLength, /*missing=*/1);
  std::vector<std::unique_ptr<RawClient>> clients;
  const size_t before = ResidentBytes();
  for (int i = 0; i < 16; ++i) {
    clients.push_back(harness_.NewClient());
    clients.back()->Greet();
    ASSERT_TRUE(clients.back()->socket().SendAll(
        option, absl::Now() + absl::Seconds(60)));
  }
  EXPECT_LT(ResidentBytes(), before + 8 * kLength);
}

TEST_F(NegotiationTest, AbsurdlyMuchDataEnds) {
  client_->Greet();
  constexpr size_t kLength = 0xffffffff;
  EXPECT_TRUE(client_->socket().SendAll(InfoOption(kLength, kLength),
                                        absl::Now() + absl::Seconds(60)));
  EXPECT_TRUE(client_->SeesEnd());
}

class MetaContextTest : public NegotiationTest {
 protected:
  // The contexts that the server answers.
  std::vector<std::string> Contexts(Option option,
                                    const std::vector<std::string>& queries) {
    std::vector<OptionAnswer> answers;
    EXPECT_EQ(
        client_->Ask(option, RawClient::MetaData("apple", queries), &answers)
            .type,
        OptionReply::kAck);
    std::vector<std::string> contexts;
    for (const OptionAnswer& answer : answers) {
      contexts.push_back(answer.data.substr(4));
    }
    return contexts;
  }
};

TEST_F(MetaContextTest, ListsByWildcard) {
  client_->Greet();
  client_->Ask(Option::kStructuredReply);
  using Names = std::vector<std::string>;
  const Names all = {"base:allocation"};
  EXPECT_EQ(Contexts(Option::kListMetaContext, {}), all);
  EXPECT_EQ(Contexts(Option::kListMetaContext, {"base:"}), all);
  EXPECT_EQ(Contexts(Option::kListMetaContext, {"x:", "base:allocation"}), all);
  EXPECT_EQ(Contexts(Option::kListMetaContext, {"qemu:dirty-bitmap:a"}),
            Names());
  EXPECT_EQ(Contexts(Option::kSetMetaContext, {}), Names());
  EXPECT_EQ(Contexts(Option::kSetMetaContext, {"base:", "base:x"}), Names());
  EXPECT_EQ(Contexts(Option::kSetMetaContext, {"base:", "base:allocation"}),
            all);
}

TEST_F(MetaContextTest, ThereIsOneForEachSnapshot) {
  using Names = std::vector<std::string>;
  harness_.exports().Add("@mon", 1 << 20, /*read_only=*/true);
  harness_.exports().Add("@tue", 1 << 20, /*read_only=*/true);
  client_->Greet();
  client_->Ask(Option::kStructuredReply);
  const Names changes = {"qemu:dirty-bitmap:mon", "qemu:dirty-bitmap:tue"};
  EXPECT_EQ(Contexts(Option::kListMetaContext, {}),
            Names({"base:allocation", changes[0], changes[1]}));
  EXPECT_EQ(Contexts(Option::kListMetaContext, {"qemu:"}), changes);
  EXPECT_EQ(Contexts(Option::kListMetaContext, {"qemu:dirty-bitmap:"}),
            changes);
  EXPECT_EQ(Contexts(Option::kListMetaContext, {changes[1]}),
            Names({changes[1]}));
  EXPECT_EQ(Contexts(Option::kSetMetaContext, {"qemu:dirty-bitmap:"}), Names())
      << "names nothing to compare with";
  EXPECT_EQ(Contexts(Option::kSetMetaContext, {"qemu:dirty-bitmap:wed"}),
            Names());
  EXPECT_EQ(Contexts(Option::kSetMetaContext,
                     {changes[1], "base:allocation", changes[1]}),
            Names({"base:allocation", changes[1]}));
  Names many;
  for (int i = 0; i < 20; ++i) {
    harness_.exports().Add(absl::StrCat("@s", i), 1 << 20);
    many.push_back(absl::StrCat("qemu:dirty-bitmap:s", i));
  }
  EXPECT_EQ(Contexts(Option::kSetMetaContext, many).size(), nbd::kMaxContexts);
}

TEST_F(MetaContextTest, NeedsStructuredRepliesAndAKnownExport) {
  client_->Greet();
  const std::string apple = RawClient::MetaData("apple", {"base:allocation"});
  EXPECT_EQ(client_->Ask(Option::kSetMetaContext, apple).type,
            OptionReply::kErrInvalid);
  client_->Ask(Option::kStructuredReply);
  EXPECT_EQ(client_
                ->Ask(Option::kSetMetaContext,
                      RawClient::MetaData("pear", {"base:allocation"}))
                .type,
            OptionReply::kErrUnknown);
  EXPECT_EQ(client_->Ask(Option::kSetMetaContext, apple.substr(0, 12)).type,
            OptionReply::kErrInvalid);
}

// Because there is no such export, or because it is too long.
class FailedSelectionTest : public MetaContextTest,
                            public ::testing::WithParamInterface<bool> {
 protected:
  static std::string Failing() {
    return GetParam() ? std::string(nbd::kMaxOptionBytes + 1, 'x')
                      : RawClient::MetaData("pear", {"base:allocation"});
  }
};

INSTANTIATE_TEST_SUITE_P(All, FailedSelectionTest, ::testing::Bool());

TEST_P(FailedSelectionTest, ClearsTheLastOne) {
  client_->Greet();
  client_->Ask(Option::kExtendedHeaders);
  Contexts(Option::kSetMetaContext, {"base:allocation"});
  client_->Ask(Option::kSetMetaContext, Failing());
  EXPECT_EQ(AskInfo(Option::kGo, "apple").type, OptionReply::kAck);
  nbd::RequestHeader header;
  header.command = static_cast<uint16_t>(nbd::Command::kBlockStatus);
  header.length = 4096;
  // In the extended style, which Enter would have noted.
  const std::string request = nbd::WireWriter()
                                  .Number(nbd::kExtendedRequestMagic)
                                  .Number(header.flags)
                                  .Number(header.command)
                                  .Number(header.cookie)
                                  .Number(header.offset)
                                  .Number(header.length)
                                  .text();
  ASSERT_TRUE(
      client_->socket().SendAll(request, absl::Now() + absl::Seconds(60)));
  std::string reply(36, '\0');
  ASSERT_TRUE(client_->socket().ReceiveAll(absl::MakeSpan(reply),
                                           absl::Now() + absl::Seconds(60)));
  EXPECT_EQ(Get<uint16_t>(&reply[6]), (1 << 15) + 1);
  EXPECT_EQ(Get<uint32_t>(&reply[32]), 22);
}

}  // namespace
}  // namespace ramvol::testing
