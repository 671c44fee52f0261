// TLS for servers: one certificate, reloaded when its files change.
#ifndef RAMVOL_BASE_TLS_TLS_SERVER_H_
#define RAMVOL_BASE_TLS_TLS_SERVER_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/secure_stream.h"
#include "base/ticker.h"

namespace ramvol {

// Paths. Empty: none.
struct TlsFiles {
  // PEM: the server's certificate, then those that signed it; its key; and
  // those that sign clients' certificates.
  std::string cert = {};
  std::string key = {};
  std::string client_ca = {};
  // Pre-shared keys: lines "USER:HEXKEY", as GnuTLS's psktool writes them.
  std::string psk = {};
};

// Whether clients must show a certificate. One that is shown must be good.
enum class ClientAuth { kNone, kOptional, kRequire };

// Speaks TLS 1.2 and 1.3. No session is resumed, so that each client is
// verified anew, and none is renegotiated. Thread-safe.
class TlsServer {
 public:
  // How often Watch looks at the files.
  static constexpr absl::Duration kLookInterval = absl::Seconds(1);

  // What is asked of a client.
  struct Terms {
    // Without TlsFiles::client_ca, as kNone.
    ClientAuth client_auth = ClientAuth::kNone;
    // It must ask for this protocol by ALPN, such as "h2". Null: for anything.
    const char* protocol = nullptr;
    // It may prove that it has a pre-shared key, instead of any certificate.
    bool psk = false;
  };

  // INVALID_ARGUMENT names the file that is missing or wrong: a certificate
  // that is malformed, expired or not the key's; a bad line of keys.
  static absl::StatusOr<std::unique_ptr<TlsServer>> Make(const TlsFiles& files);
  ~TlsServer();

  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  // Begins a connection on `fd`, which it borrows. Null when there is no
  // memory. The stream may outlive the server.
  std::unique_ptr<SecureStream> Begin(int fd, const Terms& terms)
      ABSL_LOCKS_EXCLUDED(mu_);

  // From now on, looks at the files every kLookInterval. When one has changed,
  // later connections use what the files hold then, and those that are open go
  // on. If that is bad, the old content stays in use and the log says why.
  // Call it once.
  void Watch();
  // Looks once. True when other content is in use now. Not together with
  // Watch.
  bool Look() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Loaded;

  TlsServer(TlsFiles files, std::string stamp,
            std::shared_ptr<const Loaded> loaded);

  static absl::StatusOr<std::shared_ptr<const Loaded>> Load(
      const TlsFiles& files);

  const TlsFiles files_;
  std::string stamp_;  // Of the files when they were last looked at.
  Mutex mu_;
  std::shared_ptr<const Loaded> loaded_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Ticker> ticker_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_TLS_TLS_SERVER_H_
