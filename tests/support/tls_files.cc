#include "tests/support/tls_files.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <atomic>
#include <cstdio>
#include <fstream>

namespace ramvol::testing {
namespace {

std::atomic<long> serial{1};

void Must(bool done) {
  if (!done) abort();
}

void Extend(X509* certificate, X509* issuer, int nid,
            const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension =
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  Must(extension != nullptr);
  Must(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

X509* NewCertificate(EVP_PKEY* key, const CertificateSpec& spec) {
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), spec.begins_in_seconds);
  X509_gmtime_adj(X509_getm_notAfter(certificate), spec.ends_in_seconds);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_NID(
      name, NID_commonName, MBSTRING_UTF8,
      reinterpret_cast<const unsigned char*>(spec.common_name.data()),
      static_cast<int>(spec.common_name.size()), -1, 0);
  return certificate;
}

void WritePem(const std::string& path, X509* certificate, EVP_PKEY* key) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  Must(file != nullptr);
  if (certificate != nullptr) Must(PEM_write_X509(file, certificate) == 1);
  if (key != nullptr) {
    Must(PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr,
                              nullptr) == 1);
  }
  Must(std::fclose(file) == 0);
}

}  // namespace

TestAuthority::TestAuthority(const std::string& name)
    : key_(EVP_EC_gen("P-256")),
      certificate_(NewCertificate(key_, {.common_name = name})) {
  X509_set_issuer_name(certificate_, X509_get_subject_name(certificate_));
  Extend(certificate_, certificate_, NID_basic_constraints, "critical,CA:TRUE");
  Extend(certificate_, certificate_, NID_key_usage, "keyCertSign,cRLSign");
  Must(X509_sign(certificate_, key_, EVP_sha256()) > 0);
}

TestAuthority::~TestAuthority() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
}

void TestAuthority::Write(const std::string& dir, const std::string& name,
                          const CertificateSpec& spec) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = NewCertificate(key, spec);
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate_));
  if (!spec.alternative_names.empty()) {
    Extend(certificate, certificate_, NID_subject_alt_name,
           spec.alternative_names);
  }
  Must(X509_sign(certificate, key_, EVP_sha256()) > 0);
  WritePem(dir + "/" + name + ".pem", certificate, nullptr);
  WritePem(dir + "/" + name + ".key", nullptr, key);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

void TestAuthority::WriteCa(const std::string& dir) const {
  WritePem(dir + "/ca.pem", certificate_, nullptr);
}

void WriteTestFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc | std::ios::binary);
  file << text;
  Must(file.good());
}

}  // namespace ramvol::testing
