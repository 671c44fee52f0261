#include "client/channel_credentials.h"

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/read_file.h"
#include "grpc/grpc_security_constants.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "grpcpp/support/status.h"
#include "grpcpp/support/string_ref.h"

namespace ramvol {
namespace {

// How often changed files are looked for.
constexpr unsigned kLookSeconds = 5;

// Sends "authorization: Bearer TOKEN" with each call.
class TokenFromFile final : public grpc::MetadataCredentialsPlugin {
 public:
  explicit TokenFromFile(std::string path) : path_(std::move(path)) {}

  const char* GetType() const override { return "token_file"; }
  // A file of some bytes, every few seconds: no thread has to wait for that.
  bool IsBlocking() const override { return false; }

  grpc::Status GetMetadata(
      grpc::string_ref /*service_url*/, grpc::string_ref /*method_name*/,
      const grpc::AuthContext& /*channel_auth_context*/,
      std::multimap<grpc::string, grpc::string>* metadata) override {
    MutexLock lock(&mu_);
    const absl::Time now = absl::Now();
    if (now >= next_look_) {
      next_look_ = now + absl::Seconds(kLookSeconds);
      token_ = ReadFile(path_).value_or("");
      absl::StripAsciiWhitespace(&token_);
    }
    if (token_.empty()) {
      return {grpc::StatusCode::UNAUTHENTICATED,
              absl::StrCat(path_, ": there is no token in this file")};
    }
    metadata->emplace("authorization", absl::StrCat("Bearer ", token_));
    return grpc::Status::OK;
  }

 private:
  const std::string path_;
  Mutex mu_;
  std::string token_ ABSL_GUARDED_BY(mu_);
  absl::Time next_look_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

std::shared_ptr<grpc::ChannelCredentials> Tls(const ClientOptions& options) {
  namespace tls = grpc::experimental;
  const bool system = options.tls_ca == ClientOptions::kSystemCa;
  tls::TlsChannelCredentialsOptions wanted;
  if (!system || !options.tls_cert.empty()) {
    wanted.set_certificate_provider(
        std::make_shared<tls::FileWatcherCertificateProvider>(
            options.tls_key, options.tls_cert, system ? "" : options.tls_ca,
            kLookSeconds));
    if (!system) wanted.watch_root_certs();
    if (!options.tls_cert.empty()) wanted.watch_identity_key_cert_pairs();
  }
  return tls::TlsCredentials(wanted);
}

}  // namespace

std::shared_ptr<grpc::ChannelCredentials> NewChannelCredentials(
    const ClientOptions& options) {
  const bool unix_socket = absl::StartsWith(options.server, "unix:");
  const bool plain = unix_socket || options.tls_ca.empty();
  if (options.token_file.empty()) {
    return plain ? grpc::InsecureChannelCredentials() : Tls(options);
  }
  // gRPC sends tokens only where nobody listens in, to Unix sockets as they
  // are.
  const auto credentials =
      unix_socket ? grpc::experimental::LocalCredentials(UDS) : Tls(options);
  return grpc::CompositeChannelCredentials(
      credentials, grpc::MetadataCredentialsFromPlugin(
                       std::make_unique<TokenFromFile>(options.token_file)));
}

}  // namespace ramvol
