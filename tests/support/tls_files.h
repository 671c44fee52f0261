// Certificates for tests.
#ifndef RAMVOL_TESTS_SUPPORT_TLS_FILES_H_
#define RAMVOL_TESTS_SUPPORT_TLS_FILES_H_

#include <openssl/x509.h>

#include <string>

namespace ramvol::testing {

struct CertificateSpec {
  std::string common_name = "localhost";
  // As OpenSSL writes it: "DNS:localhost,URI:spiffe://test/alice".
  std::string alternative_names = "DNS:localhost,IP:127.0.0.1";
  int begins_in_seconds = -3600;
  int ends_in_seconds = 3600;
};

// Signs certificates. Aborts when OpenSSL fails.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "test-ca");
  ~TestAuthority();
  TestAuthority(const TestAuthority&) = delete;
  TestAuthority& operator=(const TestAuthority&) = delete;

  // Writes DIR/NAME.pem and DIR/NAME.key, of a new key.
  void Write(const std::string& dir, const std::string& name,
             const CertificateSpec& spec = {}) const;
  // Writes its own certificate to DIR/ca.pem.
  void WriteCa(const std::string& dir) const;

 private:
  EVP_PKEY* const key_;
  X509* const certificate_;
};

void WriteTestFile(const std::string& path, const std::string& text);

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_TLS_FILES_H_
