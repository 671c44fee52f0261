#include "base/tls/tls_server.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event_log.h"
#include "base/read_file.h"
#include "base/tls/certificate.h"
#include "base/tls/psk_file.h"
#include "base/tls/tls_stream.h"

namespace ramvol {
namespace {

// AES-128-GCM first: with a pre-shared key, GnuTLS's clients choose what makes
// them three times slower otherwise.
constexpr char kCiphersOf13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_"
    "SHA256";
constexpr char kCiphersOf12[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-PSK-AES128-GCM-SHA256:DHE-PSK-AES256-GCM-SHA384:"
    "ECDHE-PSK-CHACHA20-POLY1305";
// A client's certificates. OpenSSL's default is 100 KiB.
constexpr long kMaxClientCertBytes = 32 << 10;

absl::Status BadFile(const std::string& path, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", why));
}

// What tells another content of the files: also when a symbolic link on the
// way, as in a Secret of Kubernetes, has another target.
std::string Stamp(const TlsFiles& files) {
  std::string stamp;
  for (const std::string* path :
       {&files.cert, &files.key, &files.client_ca, &files.psk}) {
    struct stat is{};
    if (path->empty() || stat(path->c_str(), &is) != 0) {
      stamp += ";";
      continue;
    }
    absl::StrAppend(&stamp, is.st_dev, ".", is.st_ino, ".", is.st_size, ".",
                    is.st_mtim.tv_sec, ".", is.st_mtim.tv_nsec, ".");
    absl::StrAppend(&stamp, is.st_ctim.tv_sec, ".", is.st_ctim.tv_nsec, ";");
  }
  return stamp;
}

absl::Status CheckReadable(const std::string& path) {
  if (path.empty() || std::ifstream(path).is_open()) return absl::OkStatus();
  return BadFile(path, std::strerror(errno));
}

void Configure(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_cipher_list(context, kCiphersOf12);
  SSL_CTX_set_ciphersuites(context, kCiphersOf13);
  SSL_CTX_set_dh_auto(context, 1);
  SSL_CTX_set_max_cert_list(context, kMaxClientCertBytes);
  // Keys that are encrypted cannot be read: nobody is there to be asked.
  SSL_CTX_set_default_passwd_cb(context,
                                [](char*, int, int, void*) { return 0; });
  // OpenSSL wants one wherever clients are verified.
  constexpr unsigned char kId[] = {'r', 'a', 'm', 'v', 'o', 'l'};
  SSL_CTX_set_session_id_context(context, kId, sizeof(kId));
  TlsStream::Prepare(context);
}

absl::Status UseCertificate(const TlsFiles& files, SSL_CTX* context) {
  if (files.cert.empty()) return absl::OkStatus();
  for (const std::string* path : {&files.cert, &files.key}) {
    absl::Status readable = CheckReadable(*path);
    if (!readable.ok()) return readable;
  }
  if (SSL_CTX_use_certificate_chain_file(context, files.cert.c_str()) != 1) {
    return BadFile(files.cert,
                   absl::StrCat("it is no certificate in PEM: ",
                                OpenSslError("OpenSSL does not say why")));
  }
  const absl::Status dates = CheckDates(SSL_CTX_get0_certificate(context));
  if (!dates.ok()) return BadFile(files.cert, std::string(dates.message()));
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(),
                                  SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return BadFile(files.key,
                   absl::StrCat("it is no key of ", files.cert, " in PEM: ",
                                OpenSslError("OpenSSL does not say why")));
  }
  return absl::OkStatus();
}

absl::Status UseClientCa(const std::string& path, SSL_CTX* context) {
  if (path.empty()) return absl::OkStatus();
  absl::Status readable = CheckReadable(path);
  if (!readable.ok()) return readable;
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(path.c_str());
  if (names == nullptr ||
      SSL_CTX_load_verify_file(context, path.c_str()) != 1) {
    return BadFile(path, absl::StrCat("it holds no certificates in PEM: ",
                                      OpenSslError("it may be empty")));
  }
  SSL_CTX_set_client_CA_list(context, names);
  return absl::OkStatus();
}

absl::StatusOr<PskKeys> ReadKeys(const std::string& path) {
  if (path.empty()) return PskKeys();
  const auto text = ReadFile(path);
  if (!text.ok()) return absl::InvalidArgumentError(text.status().message());
  auto keys = ParsePskKeys(*text);
  if (keys.ok()) return keys;
  return BadFile(path, std::string(keys.status().message()));
}

int VerifyMode(ClientAuth auth) {
  switch (auth) {
    case ClientAuth::kNone:
      return SSL_VERIFY_NONE;
    case ClientAuth::kOptional:
      return SSL_VERIFY_PEER;
    case ClientAuth::kRequire:
      break;
  }
  return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
}

}  // namespace

struct TlsServer::Loaded {
  Loaded() : context(SSL_CTX_new(TLS_server_method())) {}
  ~Loaded() { SSL_CTX_free(context); }
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;

  // For the log.
  std::string Describe() const {
    const X509* certificate = SSL_CTX_get0_certificate(context);
    return certificate == nullptr ? absl::StrCat(keys.size(), " keys")
                                  : ramvol::Describe(certificate);
  }

  SSL_CTX* const context;
  PskKeys keys;
};

absl::StatusOr<std::shared_ptr<const TlsServer::Loaded>> TlsServer::Load(
    const TlsFiles& files) {
  auto loaded = std::make_shared<Loaded>();
  if (loaded->context == nullptr) {
    return absl::ResourceExhaustedError("OpenSSL has no memory");
  }
  Configure(loaded->context);
  absl::Status used = UseCertificate(files, loaded->context);
  if (used.ok()) used = UseClientCa(files.client_ca, loaded->context);
  if (!used.ok()) return used;
  auto keys = ReadKeys(files.psk);
  if (!keys.ok()) return keys.status();
  loaded->keys = *std::move(keys);
  return loaded;
}

absl::StatusOr<std::unique_ptr<TlsServer>> TlsServer::Make(
    const TlsFiles& files) {
  // Before they are read: a change meanwhile is found by the next look.
  std::string stamp = Stamp(files);
  auto loaded = Load(files);
  if (!loaded.ok()) return loaded.status();
  return std::unique_ptr<TlsServer>(
      new TlsServer(files, std::move(stamp), *std::move(loaded)));
}

TlsServer::TlsServer(TlsFiles files, std::string stamp,
                     std::shared_ptr<const Loaded> loaded)
    : files_(std::move(files)),
      stamp_(std::move(stamp)),
      loaded_(std::move(loaded)) {}

TlsServer::~TlsServer() = default;

std::unique_ptr<SecureStream> TlsServer::Begin(int fd, const Terms& terms) {
  std::shared_ptr<const Loaded> loaded;
  {
    MutexLock lock(&mu_);
    loaded = loaded_;
  }
  const ClientAuth auth =
      files_.client_ca.empty() ? ClientAuth::kNone : terms.client_auth;
  return TlsStream::Make(loaded->context, VerifyMode(auth),
                         {.fd = fd,
                          .protocol = terms.protocol,
                          .keys = terms.psk ? &loaded->keys : nullptr,
                          .hold = loaded});
}

void TlsServer::Watch() {
  ticker_ = std::make_unique<Ticker>(kLookInterval, [this] { Look(); });
}

bool TlsServer::Look() {
  std::string stamp = Stamp(files_);
  if (stamp == stamp_) return false;
  stamp_ = std::move(stamp);
  auto loaded = Load(files_);
  if (!loaded.ok()) {
    LogEvent(
        Event::kTlsRefused,
        {.message = absl::StrCat(loaded.status().message(),
                                 "; what was loaded before stays in use")});
    return false;
  }
  LogEvent(Event::kTlsLoaded, {.message = (*loaded)->Describe()});
  MutexLock lock(&mu_);
  loaded_ = *std::move(loaded);
  return true;
}

}  // namespace ramvol
