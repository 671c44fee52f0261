// A TLS client for tests.
#ifndef RAMVOL_TESTS_BASE_TLS_TLS_CLIENT_H_
#define RAMVOL_TESTS_BASE_TLS_TLS_CLIENT_H_

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace ramvol::testing {

// Blocks; a socket that is silent for a minute fails the call.
class TlsClient {
 public:
  struct Options {
    int version = 0;  // Such as TLS1_2_VERSION; 0: any.
    std::string ca = {};
    std::string cert = {};
    std::string key = {};
    std::string psk_user = {};
    std::string psk = {};
    std::string protocol = {};  // By ALPN.
    std::string ciphers = {};   // Of TLS 1.2.
  };

  // Owns `fd`.
  TlsClient(int fd, Options options) : fd_(fd), options_(std::move(options)) {
    // OpenSSL writes without MSG_NOSIGNAL.
    std::signal(SIGPIPE, SIG_IGN);
    const timeval minute = {60, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof(minute));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &minute, sizeof(minute));
    SSL_CTX_set_mode(context_, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_security_level(context_, 0);
    if (options_.version != 0) {
      SSL_CTX_set_min_proto_version(context_, options_.version);
      SSL_CTX_set_max_proto_version(context_, options_.version);
    }
    if (!options_.ca.empty()) {
      SSL_CTX_load_verify_file(context_, options_.ca.c_str());
      SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    }
    if (!options_.cert.empty()) {
      SSL_CTX_use_certificate_chain_file(context_, options_.cert.c_str());
      SSL_CTX_use_PrivateKey_file(context_, options_.key.c_str(),
                                  SSL_FILETYPE_PEM);
    }
    if (!options_.psk.empty()) {
      SSL_CTX_set_psk_client_callback(context_, &GiveKey);
    }
    if (!options_.ciphers.empty()) {
      SSL_CTX_set_cipher_list(context_, options_.ciphers.c_str());
    }
    ssl_ = SSL_new(context_);
    SSL_set_app_data(ssl_, this);
    if (!options_.protocol.empty()) {
      const std::string wire =
          static_cast<char>(options_.protocol.size()) + options_.protocol;
      SSL_set_alpn_protos(ssl_,
                          reinterpret_cast<const unsigned char*>(wire.data()),
                          static_cast<unsigned>(wire.size()));
    }
    SSL_set_fd(ssl_, fd_);
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    close(fd_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool Connect() { return SSL_connect(ssl_) == 1; }
  bool Write(std::string_view data) {
    return SSL_write(ssl_, data.data(), static_cast<int>(data.size())) ==
           static_cast<int>(data.size());
  }
  // Up to `bytes`, fewer at the end.
  std::string Read(size_t bytes) {
    std::string data(bytes, '\0');
    size_t got = 0;
    while (got < bytes) {
      const int more =
          SSL_read(ssl_, &data[got], static_cast<int>(bytes - got));
      if (more <= 0) break;
      got += static_cast<size_t>(more);
    }
    data.resize(got);
    return data;
  }
  std::string version() const { return SSL_get_version(ssl_); }
  std::string cipher() const { return SSL_get_cipher_name(ssl_); }
  int fd() const { return fd_; }
  SSL* ssl() { return ssl_; }

 private:
  static unsigned GiveKey(SSL* ssl, const char* /*hint*/, char* user,
                          unsigned most_user, unsigned char* key,
                          unsigned most) {
    const auto& client = *static_cast<TlsClient*>(SSL_get_app_data(ssl));
    if (client.options_.psk_user.size() >= most_user ||
        client.options_.psk.size() > most) {
      return 0;
    }
    std::strcpy(user, client.options_.psk_user.c_str());  // NOLINT
    std::copy(client.options_.psk.begin(), client.options_.psk.end(), key);
    return static_cast<unsigned>(client.options_.psk.size());
  }

  const int fd_;
  const Options options_;
  SSL_CTX* const context_ = SSL_CTX_new(TLS_client_method());
  SSL* ssl_ = nullptr;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_BASE_TLS_TLS_CLIENT_H_
