#include "base/tls/tls_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/base/tls/tls_client.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tls_files.h"

namespace ramvol {
namespace {

using testing::CertificateSpec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TestAuthority;
using testing::TlsClient;
using testing::WriteTestFile;

using Terms = TlsServer::Terms;

const char kKey[] = "0123456789abcdef0123456789abcdef";
constexpr int kMinuteMs = 60'000;

bool Wait(int fd, short events) {
  pollfd wait = {fd, events, 0};
  return poll(&wait, 1, kMinuteMs) == 1;
}

// A server's connection and its client's, with small buffers between.
class Pair {
 public:
  Pair(TlsServer& server, const Terms& terms, TlsClient::Options options) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
    fd_ = ends[0];
    const int bytes = 8 << 10;
    setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    stream_ = server.Begin(fd_, terms);
    client_ = std::make_unique<TlsClient>(ends[1], std::move(options));
  }
  ~Pair() {
    stream_.reset();
    close(fd_);
  }

  // Whether both ends are satisfied.
  bool Shake() {
    bool connected = false;
    std::thread client([&] { connected = client_->Connect(); });
    auto step = SecureStream::Handshake::kMustReceive;
    while (step == SecureStream::Handshake::kMustReceive ||
           step == SecureStream::Handshake::kMustSend) {
      const bool receive = step == SecureStream::Handshake::kMustReceive;
      if (!Wait(fd_, receive ? POLLIN : POLLOUT)) break;
      step = stream_->Shake();
    }
    const bool done = step == SecureStream::Handshake::kDone;
    if (!done) shutdown(fd_, SHUT_RDWR);
    client.join();
    return done && connected;
  }

  std::string Receive(size_t bytes) {
    std::string data(bytes, '\0');
    size_t got = 0;
    while (got < bytes) {
      const iovec part = {&data[got], bytes - got};
      const ssize_t more = stream_->Receive({&part, 1});
      if (more > 0) got += static_cast<size_t>(more);
      if (more == 0 || (more < 0 && errno != EAGAIN)) break;
      if (more < 0 && !Wait(fd_, POLLIN)) break;
    }
    data.resize(got);
    return data;
  }

  bool Send(std::string data) {
    size_t sent = 0;
    while (sent < data.size()) {
      // A head and a body, as replies have.
      const size_t head = std::min<size_t>(28, data.size() - sent);
      const iovec parts[] = {
          {&data[sent], head},
          {data.data() + sent + head, data.size() - sent - head}};
      const ssize_t more = stream_->Send(parts);
      if (more > 0) sent += static_cast<size_t>(more);
      if (more < 0 && errno != EAGAIN) return false;
      if (more < 0 && !Wait(fd_, POLLOUT)) return false;
    }
    return true;
  }

  int fd() const { return fd_; }
  SecureStream& stream() { return *stream_; }
  TlsClient& client() { return *client_; }

 private:
  int fd_ = -1;
  std::unique_ptr<SecureStream> stream_;
  std::unique_ptr<TlsClient> client_;
};

class TlsServerTest : public ::testing::Test {
 protected:
  TlsServerTest() {
    authority_.WriteCa(dir_);
    authority_.Write(dir_, "server");
    authority_.Write(
        dir_, "alice",
        {.common_name = "alice",
         .alternative_names = "URI:spiffe://test/alice,DNS:alice.example"});
    WriteTestFile(dir_ + "/keys.psk",
                  "# comment\n\nalice:" + absl::BytesToHexString(kKey) + "\n");
  }

  TlsFiles files() const {
    return {.cert = dir_ + "/server.pem", .key = dir_ + "/server.key"};
  }
  TlsFiles files_with_clients() const {
    TlsFiles with = files();
    with.client_ca = dir_ + "/ca.pem";
    return with;
  }
  TlsFiles files_with_keys() const {
    TlsFiles with = files();
    with.psk = dir_ + "/keys.psk";
    return with;
  }
  TlsClient::Options trusting() const { return {.ca = dir_ + "/ca.pem"}; }
  TlsClient::Options alice() const {
    return {.ca = dir_ + "/ca.pem",
            .cert = dir_ + "/alice.pem",
            .key = dir_ + "/alice.key"};
  }
  static std::unique_ptr<TlsServer> Make(const TlsFiles& files) {
    auto server = TlsServer::Make(files);
    EXPECT_TRUE(server.ok()) << server.status();
    return *std::move(server);
  }

  const testing::TempDir temp_;
  const std::string dir_ = temp_.path();
  const TestAuthority authority_;
};

std::string Data(size_t bytes) {
  std::string data;
  for (size_t i = 0; data.size() < bytes; ++i) data += std::to_string(i);
  data.resize(bytes);
  return data;
}

TEST_F(TlsServerTest, SpeaksVersions12And13AndPrefersAes128) {
  const auto server = Make(files());
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient::Options options = trusting();
    options.version = version;
    Pair pair(*server, {}, options);
    ASSERT_TRUE(pair.Shake()) << pair.stream().failure();
    EXPECT_THAT(pair.client().cipher(), HasSubstr("AES"));
    EXPECT_THAT(pair.client().cipher(), HasSubstr("128"));
    EXPECT_TRUE(pair.stream().peer().empty());
    EXPECT_TRUE(pair.client().Write("hello"));
    EXPECT_EQ(pair.Receive(5), "hello");
    EXPECT_TRUE(pair.Send("welcome"));
    EXPECT_EQ(pair.client().Read(7), "welcome");
  }
}

TEST_F(TlsServerTest, RefusesOldVersions) {
  const auto server = Make(files());
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION}) {
    TlsClient::Options options = trusting();
    options.version = version;
    options.ciphers = "ALL:@SECLEVEL=0";
    Pair pair(*server, {}, options);
    EXPECT_FALSE(pair.Shake());
    EXPECT_THAT(pair.stream().failure(), HasSubstr("unsupported protocol"));
  }
}

TEST_F(TlsServerTest, RefusesOtherProtocols) {
  const auto server = Make(files());
  Pair pair(*server, {}, {});
  const std::string_view text = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  ASSERT_EQ(write(pair.client().fd(), text.data(), text.size()),
            static_cast<ssize_t>(text.size()));
  EXPECT_EQ(pair.stream().Shake(), SecureStream::Handshake::kFailed);
  EXPECT_EQ(pair.stream().failure(), "http request");
}

// The sockets hold less than a record, so that each one has to wait.
TEST_F(TlsServerTest, CarriesMuchBothWaysAtOnce) {
  const auto server = Make(files());
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient::Options options = trusting();
    options.version = version;
    Pair pair(*server, {}, options);
    ASSERT_TRUE(pair.Shake());
    const std::string data = Data(3'000'001);
    bool sent = false;
    std::thread sender([&] { sent = pair.Send(data); });
    EXPECT_TRUE(pair.client().Read(data.size()) == data);
    sender.join();
    EXPECT_TRUE(sent);
    std::thread echo([&] { pair.Send(pair.Receive(data.size())); });
    EXPECT_TRUE(pair.client().Write(data));
    EXPECT_TRUE(pair.client().Read(data.size()) == data);
    echo.join();
    EXPECT_FALSE(pair.stream().committed());
  }
}

TEST_F(TlsServerTest, SmallPartsShareARecord) {
  const auto server = Make(files());
  Pair pair(*server, {}, trusting());
  ASSERT_TRUE(pair.Shake());
  ASSERT_TRUE(pair.Send(Data(4096 + 28)));
  char byte = 0;
  ASSERT_EQ(SSL_peek(pair.client().ssl(), &byte, 1), 1);
  EXPECT_EQ(SSL_pending(pair.client().ssl()), 4096 + 28);
}

TEST_F(TlsServerTest, WhatFollowsTheHandshakeStaysInTheSocket) {
  const auto server = Make(files());
  Pair pair(*server, {}, trusting());
  bool wrote = false;
  std::thread client([&] {
    wrote = pair.client().Connect() && pair.client().Write(Data(100));
  });
  auto step = SecureStream::Handshake::kMustReceive;
  ASSERT_TRUE(Wait(pair.fd(), POLLIN));
  step = pair.stream().Shake();
  ASSERT_EQ(step, SecureStream::Handshake::kMustReceive);
  client.join();  // Its last message of the handshake, and its data.
  ASSERT_TRUE(wrote);
  EXPECT_EQ(pair.stream().Shake(), SecureStream::Handshake::kDone);
  EXPECT_TRUE(Wait(pair.fd(), POLLIN));
  char seen[10];
  EXPECT_EQ(pair.stream().Peek(seen, sizeof(seen)), 10);
  EXPECT_EQ(std::string(seen, sizeof(seen)), Data(10));
  EXPECT_EQ(pair.Receive(100), Data(100));
}

// Each costs the server much more than its bytes.
TEST_F(TlsServerTest, BoundsUpdatesOfKeys) {
  const auto server = Make(files());
  Pair pair(*server, {}, trusting());
  ASSERT_TRUE(pair.Shake());
  std::thread client([&] {
    for (int i = 0; i < 20000; ++i) {
      SSL_key_update(pair.client().ssl(), SSL_KEY_UPDATE_REQUESTED);
      if (SSL_do_handshake(pair.client().ssl()) != 1) return;
    }
  });
  EXPECT_EQ(pair.Receive(1), "");
  EXPECT_EQ(pair.stream().failure(), "too many updates of keys");
  shutdown(pair.fd(), SHUT_RDWR);
  client.join();
}

TEST_F(TlsServerTest, EndsWithBothEnds) {
  const auto server = Make(files());
  Pair pair(*server, {}, trusting());
  ASSERT_TRUE(pair.Shake());
  pair.stream().Finish();
  EXPECT_EQ(pair.client().Read(1), "");
  EXPECT_EQ(SSL_get_shutdown(pair.client().ssl()) & SSL_RECEIVED_SHUTDOWN,
            SSL_RECEIVED_SHUTDOWN);
  SSL_shutdown(pair.client().ssl());
  char byte = 0;
  const iovec part = {&byte, 1};
  ASSERT_TRUE(Wait(pair.fd(), POLLIN));
  EXPECT_EQ(pair.stream().Receive({&part, 1}), 0);
}

TEST_F(TlsServerTest, TellsTheNamesOfClients) {
  const auto server = Make(files_with_clients());
  for (const ClientAuth auth : {ClientAuth::kOptional, ClientAuth::kRequire}) {
    Pair pair(*server, {.client_auth = auth}, alice());
    ASSERT_TRUE(pair.Shake()) << pair.stream().failure();
    const PeerNames& peer = pair.stream().peer();
    EXPECT_THAT(peer.uris, ElementsAre("spiffe://test/alice"));
    EXPECT_THAT(peer.dns, ElementsAre("alice.example"));
    EXPECT_EQ(peer.common_name, "alice");
    EXPECT_EQ(peer.psk_user, "");
  }
}

TEST_F(TlsServerTest, AsksForCertificatesAsTheTermsSay) {
  const auto server = Make(files_with_clients());
  {
    Pair pair(*server, {.client_auth = ClientAuth::kNone}, alice());
    EXPECT_TRUE(pair.Shake());
    EXPECT_TRUE(pair.stream().peer().empty());
  }
  {
    Pair pair(*server, {.client_auth = ClientAuth::kOptional}, trusting());
    EXPECT_TRUE(pair.Shake());
    EXPECT_TRUE(pair.stream().peer().empty());
  }
  TlsClient::Options without = trusting();
  without.version = TLS1_2_VERSION;
  Pair pair(*server, {.client_auth = ClientAuth::kRequire}, without);
  EXPECT_FALSE(pair.Shake());
  EXPECT_THAT(pair.stream().failure(),
              HasSubstr("peer did not return a certificate"));
}

TEST_F(TlsServerTest, RefusesCertificatesOfOthersAndExpiredOnes) {
  const auto server = Make(files_with_clients());
  const TestAuthority other("other-ca");
  other.Write(dir_, "mallory", {.common_name = "alice"});
  authority_.Write(dir_, "expired", {.ends_in_seconds = -10});
  const std::pair<const char*, const char*> bad[] = {
      {"mallory", "unable to get local issuer certificate"},
      {"expired", "certificate has expired"}};
  for (const auto& [name, why] : bad) {
    TlsClient::Options options = trusting();
    options.version = TLS1_2_VERSION;
    options.cert = dir_ + "/" + name + ".pem";
    options.key = dir_ + "/" + name + ".key";
    Pair pair(*server, {.client_auth = ClientAuth::kOptional}, options);
    EXPECT_FALSE(pair.Shake());
    EXPECT_THAT(pair.stream().failure(), HasSubstr(why));
  }
}

TEST_F(TlsServerTest, TakesPreSharedKeysWhereTheTermsSay) {
  TlsFiles only_keys = files_with_keys();
  only_keys.cert = only_keys.key = "";
  for (const TlsFiles& files : {files_with_keys(), only_keys}) {
    const auto server = Make(files);
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      TlsClient::Options options;
      options.version = version;
      options.psk_user = "alice";
      options.psk = kKey;
      options.ciphers = "PSK";
      Pair pair(*server, {.client_auth = ClientAuth::kRequire, .psk = true},
                options);
      ASSERT_TRUE(pair.Shake()) << pair.stream().failure();
      EXPECT_EQ(pair.stream().peer().psk_user, "alice");
      EXPECT_EQ(pair.stream().peer().common_name, "");
      EXPECT_THAT(pair.client().cipher(), HasSubstr("128"));
      EXPECT_TRUE(pair.client().Write("hello"));
      EXPECT_EQ(pair.Receive(5), "hello");
    }
  }
}

TEST_F(TlsServerTest, RefusesWrongKeysAndUnknownUsers) {
  TlsFiles only_keys = files_with_keys();
  only_keys.cert = only_keys.key = "";
  const auto server = Make(only_keys);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient::Options options;
    options.version = version;
    options.ciphers = "PSK";
    options.psk_user = "alice";
    options.psk = std::string(32, 'x');
    EXPECT_FALSE(Pair(*server, {.psk = true}, options).Shake());
    options.psk_user = "bob";
    EXPECT_FALSE(Pair(*server, {.psk = true}, options).Shake());
    options.psk_user = "alice";
    options.psk = kKey;
    EXPECT_FALSE(Pair(*server, {.psk = false}, options).Shake());
  }
}

TEST_F(TlsServerTest, WantsTheProtocol) {
  const auto server = Make(files());
  for (const auto& [protocol, good] :
       {std::pair("h2", true), {"http/1.1", false}, {"", false}}) {
    TlsClient::Options options = trusting();
    options.protocol = protocol;
    Pair pair(*server, {.protocol = "h2"}, options);
    EXPECT_EQ(pair.Shake(), good) << protocol;
    EXPECT_EQ(pair.stream().failure().empty(), good);
  }
}

// As a Secret of Kubernetes: the path is a link to a link that is replaced.
class ReloadTest : public TlsServerTest {
 protected:
  ReloadTest() {
    Put("one");
    for (const char* file : {"tls.pem", "tls.key"}) {
      EXPECT_EQ(symlink(("..data/" + std::string(file)).c_str(),
                        (dir_ + "/" + file).c_str()),
                0);
    }
    server_ = Make({.cert = dir_ + "/tls.pem", .key = dir_ + "/tls.key"});
  }

  void Put(const std::string& version, const CertificateSpec& spec = {},
           const std::string& key_of = "") {
    const std::string dir = dir_ + "/" + version;
    ASSERT_EQ(mkdir(dir.c_str(), 0700), 0);
    CertificateSpec named = spec;
    named.common_name = version;
    authority_.Write(dir, "tls", named);
    if (!key_of.empty()) {
      const std::string from = dir_ + "/" + key_of + "/tls.key";
      ASSERT_EQ(unlink((dir + "/tls.key").c_str()), 0);
      ASSERT_EQ(link(from.c_str(), (dir + "/tls.key").c_str()), 0);
    }
    Swap(version);
  }
  void Swap(const std::string& version) {
    const std::string next = dir_ + "/..data_tmp";
    ASSERT_EQ(symlink(version.c_str(), next.c_str()), 0);
    ASSERT_EQ(rename(next.c_str(), (dir_ + "/..data").c_str()), 0);
  }

  // The name on the certificate that a new client sees.
  std::string Seen() {
    Pair pair(*server_, {}, trusting());
    if (!pair.Shake()) return pair.stream().failure();
    X509* certificate = SSL_get0_peer_certificate(pair.client().ssl());
    char name[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate),
                              NID_commonName, name, sizeof(name));
    return name;
  }

  std::unique_ptr<TlsServer> server_;
};

TEST_F(ReloadTest, UsesNewFiles) {
  EXPECT_FALSE(server_->Look());
  EXPECT_EQ(Seen(), "one");
  Pair old(*server_, {}, trusting());
  ASSERT_TRUE(old.Shake());
  Put("two");
  EXPECT_EQ(Seen(), "one");
  EXPECT_TRUE(server_->Look());
  EXPECT_FALSE(server_->Look());
  EXPECT_EQ(Seen(), "two");
  EXPECT_TRUE(old.client().Write("hello"));
  EXPECT_EQ(old.Receive(5), "hello");
}

TEST_F(ReloadTest, KeepsTheOldWhenTheNewIsBad) {
  Put("expired", {.ends_in_seconds = -10});
  EXPECT_FALSE(server_->Look());
  Put("early", {.begins_in_seconds = 1000});
  EXPECT_FALSE(server_->Look());
  Put("mismatch", {}, /*key_of=*/"one");
  EXPECT_FALSE(server_->Look());
  ASSERT_EQ(unlink((dir_ + "/..data").c_str()), 0);
  EXPECT_FALSE(server_->Look());
  EXPECT_EQ(Seen(), "one");
  Put("good");
  EXPECT_TRUE(server_->Look());
  EXPECT_EQ(Seen(), "good");
}

TEST_F(TlsServerTest, SaysWhatIsWrongWithFiles) {
  const auto error = [](const TlsFiles& files) {
    return std::string(TlsServer::Make(files).status().message());
  };
  TlsFiles missing = files();
  missing.cert += "x";
  EXPECT_EQ(error(missing), dir_ + "/server.pemx: No such file or directory");
  authority_.Write(dir_, "other");
  TlsFiles mismatch = files();
  mismatch.key = dir_ + "/other.key";
  EXPECT_THAT(error(mismatch), HasSubstr("other.key: it is no key of "));
  EXPECT_THAT(error(mismatch), HasSubstr("key values mismatch"));
  TlsFiles malformed = files();
  malformed.cert = dir_ + "/keys.psk";
  EXPECT_THAT(error(malformed), HasSubstr("it is no certificate in PEM"));
  authority_.Write(dir_, "old", {.ends_in_seconds = -10});
  EXPECT_THAT(error({.cert = dir_ + "/old.pem", .key = dir_ + "/old.key"}),
              HasSubstr("old.pem: it has expired, on "));
  TlsFiles no_ca = files();
  no_ca.client_ca = dir_ + "/keys.psk";
  EXPECT_THAT(error(no_ca), HasSubstr("it holds no certificates in PEM"));
  TlsFiles folder = files();
  folder.psk = dir_;
  EXPECT_EQ(error(folder), "cannot read " + dir_ + ": Is a directory");
}

}  // namespace
}  // namespace ramvol
