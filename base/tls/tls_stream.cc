#include "base/tls/tls_stream.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/tls/certificate.h"

namespace ramvol {
namespace {

// A TLS record's most.
constexpr size_t kRecordBytes = size_t{16} << 10;

// Buffers that calls of a thread take turns with, so that a connection holds
// none at rest.
std::string& SpareBuffer() {
  thread_local std::string buffer;
  return buffer;
}
char* RecordBuffer() {
  thread_local char buffer[kRecordBytes];
  return buffer;
}

TlsStream* StreamOf(const SSL* ssl) {
  return static_cast<TlsStream*>(SSL_get_app_data(ssl));
}

}  // namespace

void TlsStream::Prepare(SSL_CTX* context) {
  SSL_CTX_set_psk_server_callback(context, &FindKey);
  SSL_CTX_set_alpn_select_cb(context, &ChooseProtocol, nullptr);
  SSL_CTX_set_msg_callback(context, &NoteMessage);
}

std::unique_ptr<TlsStream> TlsStream::Make(SSL_CTX* context, int verify_mode,
                                           Options options) {
  SSL* const ssl = SSL_new(context);
  BIO* const bio = BIO_new(Method());
  if (ssl == nullptr || bio == nullptr) {
    SSL_free(ssl);
    BIO_free(bio);
    return nullptr;
  }
  std::unique_ptr<TlsStream> stream(new TlsStream(ssl, std::move(options)));
  BIO_set_data(bio, stream.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, stream.get());
  SSL_set_verify(ssl, verify_mode, nullptr);
  SSL_set_accept_state(ssl);
  return stream;
}

TlsStream::~TlsStream() { SSL_free(ssl_); }

SecureStream::Handshake TlsStream::Shake() {
  if (!FlushAll()) {
    return errno == EAGAIN ? Handshake::kMustSend : Handshake::kFailed;
  }
  bool done = false;
  bool failed = false;
  {
    MutexLock lock(&mu_);
    ERR_clear_error();
    const int result = SSL_accept(ssl_);
    done = result == 1 && AgreedLocked();
    failed = !done && (result == 1 ||
                       SSL_get_error(ssl_, result) != SSL_ERROR_WANT_READ);
    if (failed) FailLocked("the client has left");
  }
  const bool flushed = FlushAll();
  if (failed) return Handshake::kFailed;
  if (!flushed) {
    return errno == EAGAIN ? Handshake::kMustSend : Handshake::kFailed;
  }
  return done ? Handshake::kDone : Handshake::kMustReceive;
}

bool TlsStream::AgreedLocked() {
  if (options_.protocol != nullptr) {
    const unsigned char* chosen = nullptr;
    unsigned bytes = 0;
    SSL_get0_alpn_selected(ssl_, &chosen, &bytes);
    if (bytes == 0) {
      failure_ = absl::StrCat("the client does not ask for the protocol ",
                              options_.protocol, " (ALPN)");
      return false;
    }
  }
  const bool by_key =
      SSL_session_reused(ssl_) != 0 ||
      SSL_CIPHER_get_auth_nid(SSL_get_current_cipher(ssl_)) == NID_auth_psk;
  if (by_key) {
    peer_.psk_user = candidate_user_;
  } else if (SSL_get_verify_result(ssl_) == X509_V_OK) {
    peer_ = NamesOf(SSL_get0_peer_certificate(ssl_));
  }
  shaken_ = true;
  // Not before: what follows the handshake stays in the socket.
  SSL_set_read_ahead(ssl_, 1);
  SSL_set_default_read_buffer_len(ssl_, kMaxAtOnce);
  return true;
}

void TlsStream::FailLocked(const char* otherwise) {
  if (!failure_.empty()) return;
  failure_ = OpenSslError(otherwise);
  const long verified = SSL_get_verify_result(ssl_);
  if (verified == X509_V_OK) return;
  absl::StrAppend(&failure_, ": ", X509_verify_cert_error_string(verified));
}

std::string TlsStream::failure() const {
  MutexLock lock(&mu_);
  return failure_;
}

ssize_t TlsStream::ReadLocked(char* out, size_t most) {
  ERR_clear_error();
  size_t bytes = 0;
  const int result = SSL_read_ex(ssl_, out, most, &bytes);
  if (result == 1) {
    received_bytes_ += bytes;
    return static_cast<ssize_t>(bytes);
  }
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_SYSCALL:
      errno = ECONNRESET;
      return -1;
    default:
      FailLocked("the connection is broken");
      errno = EPROTO;
      return -1;
  }
}

ssize_t TlsStream::Receive(absl::Span<const iovec> parts) {
  size_t got = 0;
  MutexLock lock(&mu_);
  for (const iovec& part : parts) {
    auto* const out = static_cast<char*>(part.iov_base);
    size_t filled = std::min(early_.size(), part.iov_len);
    std::memcpy(out, early_.data(), filled);
    early_.erase(0, filled);
    got += filled;
    while (filled < part.iov_len) {
      const ssize_t bytes = ReadLocked(out + filled, part.iov_len - filled);
      if (bytes <= 0) return got > 0 ? static_cast<ssize_t>(got) : bytes;
      filled += static_cast<size_t>(bytes);
      got += static_cast<size_t>(bytes);
      // The socket may have more; to ask costs a system call.
      if (got >= kMaxAtOnce || SSL_has_pending(ssl_) == 0) {
        return static_cast<ssize_t>(got);
      }
    }
  }
  return static_cast<ssize_t>(got);
}

ssize_t TlsStream::Peek(char* out, size_t most) {
  MutexLock lock(&mu_);
  while (early_.size() < most) {
    const size_t before = early_.size();
    early_.resize(most);
    const ssize_t bytes = ReadLocked(&early_[before], most - before);
    early_.resize(before + static_cast<size_t>(std::max<ssize_t>(bytes, 0)));
    if (bytes > 0) continue;
    if (before == 0) return bytes;
    break;
  }
  const size_t bytes = std::min(most, early_.size());
  std::memcpy(out, early_.data(), bytes);
  return static_cast<ssize_t>(bytes);
}

bool TlsStream::WriteLocked(const char* bytes, size_t count) {
  size_t written = 0;
  return SSL_write_ex(ssl_, bytes, count, &written) == 1 && written == count;
}

ssize_t TlsStream::EncryptLocked(absl::Span<const iovec> parts, size_t skip) {
  size_t taken = skip;
  const size_t most = skip + kMaxAtOnce;
  char* const record = RecordBuffer();
  size_t gathered = 0;
  for (const iovec& part : parts) {
    absl::Span<const char> left(static_cast<const char*>(part.iov_base),
                                part.iov_len);
    const size_t skipped = std::min(skip, left.size());
    left.remove_prefix(skipped);
    skip -= skipped;
    while (!left.empty() && taken < most) {
      const size_t bytes =
          std::min({left.size(), kRecordBytes - gathered, most - taken});
      if (bytes == kRecordBytes) {
        if (!WriteLocked(left.data(), bytes)) return -1;
      } else {
        // Small parts share a record.
        std::memcpy(record + gathered, left.data(), bytes);
        gathered += bytes;
        if (gathered == kRecordBytes && !WriteLocked(record, gathered)) {
          return -1;
        }
        gathered %= kRecordBytes;
      }
      left.remove_prefix(bytes);
      taken += bytes;
    }
  }
  if (gathered > 0 && !WriteLocked(record, gathered)) return -1;
  return static_cast<ssize_t>(taken);
}

ssize_t TlsStream::Send(absl::Span<const iovec> parts) {
  if (!Flush()) return -1;
  size_t all = 0;
  for (const iovec& part : parts) all += part.iov_len;
  size_t taken = owed_ ? 1 : 0;
  while (taken < all) {
    if (!Encrypt(parts, &taken)) return -1;
    if (Flush()) continue;
    if (errno != EAGAIN) return -1;
    // One byte less, so that the caller comes back for the rest.
    owed_ = true;
    return taken > 1 ? static_cast<ssize_t>(taken) - 1 : -1;
  }
  owed_ = false;
  return static_cast<ssize_t>(taken);
}

bool TlsStream::Encrypt(absl::Span<const iovec> parts, size_t* taken) {
  MutexLock lock(&mu_);
  if (out_.empty()) out_.swap(SpareBuffer());
  ERR_clear_error();
  const ssize_t all = EncryptLocked(parts, *taken);
  sending_.swap(out_);
  if (all < 0) {
    FailLocked("the connection is broken");
    errno = EPIPE;
    return false;
  }
  *taken = static_cast<size_t>(all);
  return true;
}

bool TlsStream::Flush() {
  while (sent_ < sending_.size()) {
    const ssize_t bytes =
        send(options_.fd, &sending_[sent_], sending_.size() - sent_,
             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return false;
    sent_ += static_cast<size_t>(bytes);
  }
  sent_ = 0;
  sending_.clear();
  if (sending_.capacity() > SpareBuffer().capacity()) {
    sending_.swap(SpareBuffer());
  }
  return true;
}

bool TlsStream::FlushAll() {
  if (!Flush()) return false;
  {
    MutexLock lock(&mu_);
    sending_.swap(out_);
  }
  return Flush();
}

void TlsStream::Finish() {
  {
    MutexLock lock(&mu_);
    ERR_clear_error();
    SSL_shutdown(ssl_);
  }
  FlushAll();
}

BIO_METHOD* TlsStream::Method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    BIO_meth_set_read(made, &BioRead);
    BIO_meth_set_write(made, &BioWrite);
    BIO_meth_set_ctrl(made, &BioControl);
    return made;
  }();
  return method;
}

int TlsStream::BioRead(BIO* bio, char* out, int most) {
  auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
  stream.mu_.AssertHeld();
  BIO_clear_retry_flags(bio);
  if (stream.own_messages_ >
      kMaxOwnMessages + stream.received_bytes_ / kBytesForMessage) {
    stream.failure_ = "too many updates of keys";
    errno = EPROTO;
    return -1;
  }
  ssize_t bytes = 0;
  do {
    bytes =
        recv(stream.options_.fd, out, static_cast<size_t>(most), MSG_DONTWAIT);
  } while (bytes < 0 && errno == EINTR);
  if (bytes < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
  stream.eof_ = bytes == 0;
  return static_cast<int>(bytes);
}

int TlsStream::BioWrite(BIO* bio, const char* bytes, int count) {
  auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
  stream.mu_.AssertHeld();
  const auto size = static_cast<size_t>(count);
  if (stream.out_.size() + size > 2 * kMaxAtOnce + kMaxOwnBytes) return -1;
  stream.out_.append(bytes, size);
  return count;
}

long TlsStream::BioControl(BIO* bio, int command, long /*number*/,
                           void* /*pointer*/) {
  auto& stream = *static_cast<TlsStream*>(BIO_get_data(bio));
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command != BIO_CTRL_EOF) return 0;
  stream.mu_.AssertHeld();
  return stream.eof_ ? 1 : 0;
}

unsigned TlsStream::FindKey(SSL* ssl, const char* user, unsigned char* key,
                            unsigned most) {
  TlsStream& stream = *StreamOf(ssl);
  stream.mu_.AssertHeld();
  const PskKeys* const keys = stream.options_.keys;
  if (keys == nullptr || user == nullptr) return 0;
  const auto found = keys->find(user);
  if (found == keys->end() || found->second.size() > most) return 0;
  std::copy(found->second.begin(), found->second.end(), key);
  stream.candidate_user_ = user;
  return static_cast<unsigned>(found->second.size());
}

void TlsStream::NoteMessage(int sent, int /*version*/, int type,
                            const void* /*bytes*/, size_t /*count*/, SSL* ssl,
                            void* /*arg*/) {
  if (sent != 0 || type != SSL3_RT_HANDSHAKE) return;
  TlsStream& stream = *StreamOf(ssl);
  stream.mu_.AssertHeld();
  if (stream.shaken_) ++stream.own_messages_;
}

int TlsStream::ChooseProtocol(SSL* ssl, const unsigned char** out,
                              unsigned char* out_bytes, const unsigned char* in,
                              unsigned in_bytes, void* /*arg*/) {
  const char* const wanted = StreamOf(ssl)->options_.protocol;
  if (wanted == nullptr) return SSL_TLSEXT_ERR_NOACK;
  // Each is a byte of its length, and its bytes; OpenSSL checked that.
  for (unsigned at = 0; at < in_bytes; at += 1U + in[at]) {
    if (std::string_view(reinterpret_cast<const char*>(in + at + 1), in[at]) !=
        wanted) {
      continue;
    }
    *out = in + at + 1;
    *out_bytes = in[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace ramvol
