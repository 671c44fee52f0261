// A limit on how often something happens.
#ifndef RAMVOL_SERVER_HTTP2_TOKEN_BUCKET_H_
#define RAMVOL_SERVER_HTTP2_TOKEN_BUCKET_H_

#include <algorithm>
#include <cstdint>

namespace ramvol::http2 {

// Allows `burst` events at once, and then `per_second`. One thread at a time.
class TokenBucket {
 public:
  TokenBucket(double burst, double per_second)
      : burst_(burst), per_ns_(per_second / 1e9), tokens_(burst) {}

  // Takes `events`; false, and takes none, when fewer are left. The clock may
  // stand still, and starts anywhere.
  bool Take(int64_t now_ns, double events = 1) {
    if (last_ns_ == 0) last_ns_ = now_ns;
    Give(static_cast<double>(now_ns - last_ns_) * per_ns_);
    last_ns_ = now_ns;
    if (tokens_ < events) return false;
    tokens_ -= events;
    return true;
  }
  void Give(double tokens) { tokens_ = std::min(burst_, tokens_ + tokens); }

 private:
  const double burst_;
  const double per_ns_;
  double tokens_;
  int64_t last_ns_ = 0;
};

}  // namespace ramvol::http2

#endif  // RAMVOL_SERVER_HTTP2_TOKEN_BUCKET_H_
