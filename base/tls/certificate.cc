#include "base/tls/certificate.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace ramvol {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
};

// A name with a zero byte would be read as another one by some programs.
bool IsPlain(std::string_view name) {
  return !name.empty() && name.size() <= PeerNames::kMaxNameBytes &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string_view View(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<size_t>(ASN1_STRING_length(text))};
}

std::string CommonName(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  // Which of several is meant is unknown.
  if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) {
    return "";
  }
  unsigned char* text = nullptr;
  const int bytes = ASN1_STRING_to_UTF8(
      &text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (bytes < 0) return "";
  std::string name(reinterpret_cast<const char*>(text),
                   static_cast<size_t>(bytes));
  OPENSSL_free(text);
  const bool printable = name.size() <= PeerNames::kMaxNameBytes &&
                         std::all_of(name.begin(), name.end(), [](char c) {
                           return c >= 0x20 && c < 0x7f;
                         });
  return printable ? name : "";
}

// What `print` writes.
template <typename Print>
std::string Printed(const Print& print) {
  const std::unique_ptr<BIO, Free> bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr) return "";
  print(bio.get());
  char* text = nullptr;
  const long bytes = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<size_t>(std::max(bytes, 0L))};
}

std::string Text(const ASN1_TIME* time) {
  return Printed([&](BIO* bio) { ASN1_TIME_print(bio, time); });
}

}  // namespace

PeerNames NamesOf(const X509* certificate) {
  PeerNames names;
  if (certificate == nullptr) return names;
  names.common_name = CommonName(certificate);
  const std::unique_ptr<GENERAL_NAMES, Free> all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  const int count = all == nullptr ? 0 : sk_GENERAL_NAME_num(all.get());
  for (int i = 0; i < std::min<int>(count, PeerNames::kMaxNames); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type != GEN_URI && name->type != GEN_DNS) continue;
    const std::string_view text = View(name->d.ia5);
    if (!IsPlain(text)) continue;
    (name->type == GEN_URI ? names.uris : names.dns).emplace_back(text);
  }
  return names;
}

absl::Status CheckDates(const X509* certificate) {
  const ASN1_TIME* end = X509_get0_notAfter(certificate);
  if (X509_cmp_current_time(end) <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("it has expired, on ", Text(end)));
  }
  const ASN1_TIME* begin = X509_get0_notBefore(certificate);
  if (X509_cmp_current_time(begin) > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("it is not valid before ", Text(begin)));
  }
  return absl::OkStatus();
}

std::string Describe(const X509* certificate) {
  const std::string subject = Printed([&](BIO* bio) {
    X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0,
                       XN_FLAG_RFC2253);
  });
  return absl::StrCat(subject.empty() ? "no subject" : subject, ", until ",
                      Text(X509_get0_notAfter(certificate)));
}

std::string OpenSslError(const std::string& otherwise) {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* const reason = ERR_reason_error_string(error);
  return reason == nullptr ? otherwise : reason;
}

}  // namespace ramvol
