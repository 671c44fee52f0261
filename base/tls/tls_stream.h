// The server's end of one TLS connection.
#ifndef RAMVOL_BASE_TLS_TLS_STREAM_H_
#define RAMVOL_BASE_TLS_TLS_STREAM_H_

#include <openssl/ssl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "base/peer_names.h"
#include "base/secure_stream.h"
#include "base/tls/psk_file.h"

namespace ramvol {

// A lock is held while bytes are encrypted or decrypted and while they are
// received, not while they are sent. What is encrypted at a time has a bound,
// and is kept only while the socket has no room.
class TlsStream final : public SecureStream {
 public:
  // Most bytes that are encrypted at a time, or that a call of Receive moves.
  static constexpr size_t kMaxAtOnce = size_t{64} << 10;
  // Most encrypted bytes, beside those of Send, that wait for the socket: the
  // other end can make OpenSSL answer.
  static constexpr size_t kMaxOwnBytes = size_t{64} << 10;
  // Most messages about the connection itself, such as updates of keys, that
  // the other end may send after the handshake, and one more for each so many
  // bytes. They cost much more than they weigh.
  static constexpr uint64_t kMaxOwnMessages = 32;
  static constexpr uint64_t kBytesForMessage = uint64_t{1} << 20;

  struct Options {
    int fd = -1;  // Borrowed.
    // The only protocol, by ALPN; null: any.
    const char* protocol = nullptr;
    // Null: none is taken. Lives as long as `hold`.
    const PskKeys* keys = nullptr;
    std::shared_ptr<const void> hold = nullptr;
  };

  // What a context needs for its streams.
  static void Prepare(SSL_CTX* context);
  // Null when there is no memory.
  static std::unique_ptr<TlsStream> Make(SSL_CTX* context, int verify_mode,
                                         Options options);
  ~TlsStream() override;

  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  Handshake Shake() override ABSL_LOCKS_EXCLUDED(mu_);
  std::string failure() const override ABSL_LOCKS_EXCLUDED(mu_);
  const PeerNames& peer() const override { return peer_; }
  ssize_t Receive(absl::Span<const iovec> parts) override
      ABSL_LOCKS_EXCLUDED(mu_);
  ssize_t Peek(char* out, size_t most) override ABSL_LOCKS_EXCLUDED(mu_);
  ssize_t Send(absl::Span<const iovec> parts) override ABSL_LOCKS_EXCLUDED(mu_);
  bool committed() const override { return owed_; }
  void Finish() override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  TlsStream(SSL* ssl, Options options)
      : ssl_(ssl), options_(std::move(options)) {}

  // What OpenSSL calls.
  static BIO_METHOD* Method();
  static int BioRead(BIO* bio, char* out, int most);
  static int BioWrite(BIO* bio, const char* bytes, int count);
  static long BioControl(BIO* bio, int command, long number, void* pointer);
  static unsigned FindKey(SSL* ssl, const char* user, unsigned char* key,
                          unsigned most);
  static void NoteMessage(int sent, int version, int type, const void* bytes,
                          size_t count, SSL* ssl, void* arg);
  static int ChooseProtocol(SSL* ssl, const unsigned char** out,
                            unsigned char* out_bytes, const unsigned char* in,
                            unsigned in_bytes, void* arg);

  bool AgreedLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FailLocked(const char* otherwise) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  ssize_t ReadLocked(char* out, size_t most) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Encrypts some bytes of `parts` after the first `*taken`, and adds their
  // number to that.
  bool Encrypt(absl::Span<const iovec> parts, size_t* taken)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Encrypts up to kMaxAtOnce bytes after the first `skip` into out_. Returns
  // their number and `skip`; -1 on an error.
  ssize_t EncryptLocked(absl::Span<const iovec> parts, size_t skip)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool WriteLocked(const char* bytes, size_t count)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Sends sending_; FlushAll also what is in out_. False, with errno,
  // when some is left.
  bool Flush();
  bool FlushAll() ABSL_LOCKS_EXCLUDED(mu_);

  SSL* const ssl_;  // Guarded by mu_.
  const Options options_;
  PeerNames peer_;  // Constant after the handshake.

  // The sending thread's: encrypted bytes that the socket has not taken yet.
  std::string sending_;
  size_t sent_ = 0;  // Of sending_.
  // The last byte that Send took is encrypted but not yet counted.
  std::atomic<bool> owed_{false};
  // The receiving thread's: decrypted and not received yet.
  std::string early_;

  mutable Mutex mu_;
  std::string out_ ABSL_GUARDED_BY(mu_);  // Encrypted.
  std::string failure_ ABSL_GUARDED_BY(mu_);
  std::string candidate_user_ ABSL_GUARDED_BY(mu_);
  bool eof_ ABSL_GUARDED_BY(mu_) = false;
  bool shaken_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t own_messages_ ABSL_GUARDED_BY(mu_) = 0;    // After the handshake.
  uint64_t received_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // Decrypted.
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_TLS_TLS_STREAM_H_
