// Decides who may do what, by files that may change.
#ifndef RAMVOL_SERVER_ACCESS_AUTHORITY_H_
#define RAMVOL_SERVER_ACCESS_AUTHORITY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/usage_limiter.h"
#include "base/usage_timer.h"
#include "server/access/identity.h"
#include "server/access/policy.h"
#include "server/access/role.h"
#include "server/access/token_file.h"
#include "server/access/watched_file.h"

namespace ramvol::access {

enum class Decision : uint8_t {
  kAllowed,
  kDenied,
  kInvisible,        // As if the volume were not there.
  kUnauthenticated,  // Nobody known, and strangers may do nothing.
};

// How often things happened, for metrics.
struct AuthorityStats {
  uint64_t allowed = 0;
  uint64_t denied = 0;
  uint64_t invisible = 0;
  uint64_t unauthenticated = 0;
  uint64_t reloads = 0;
  uint64_t refused_reloads = 0;
  size_t grants = 0;
  size_t tokens = 0;
  // Whether the files, as they are now, are in use.
  bool current = true;
};

// Thread-safe, but for Reload, which one thread at a time may call.
class Authority {
 public:
  // Reads the files; "" for none. Without a policy everyone may do everything.
  // INVALID_ARGUMENT says what is wrong where.
  static absl::StatusOr<std::unique_ptr<Authority>> Make(
      const std::string& policy_path, const std::string& token_path);

  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  bool has_policy() const { return policy_file_.has_value(); }
  bool has_tokens() const { return token_file_.has_value(); }

  // Takes over files that have changed. What is wrong is refused, logged and
  // counted, and what was known before stays. Call it some times a second.
  void Reload();

  // Adds the name of a bearer token. UNAUTHENTICATED, reason UNAUTHENTICATED,
  // when it is not known.
  absl::Status AddToken(std::string_view token, Identity* identity) const;

  // Whether `identity` may do `right` to the volume `name`, or "@" and a
  // snapshot's. The name does not matter to rights of no volume.
  Decision Decide(const Identity& identity, Right right, std::string_view name,
                  LabelsOf labels) const;
  // The same, and counts it.
  Decision Check(const Identity& identity, Right right, std::string_view name,
                 LabelsOf labels) const;
  void Count(Decision decision) const;

  // What the policy gives to `identity`; null without a policy.
  std::shared_ptr<const Subject> SubjectOf(const Identity& identity) const
      ABSL_LOCKS_EXCLUDED(mu_);

  // Holds identities to the policy's limits from now on. Borrows `timer`, which
  // must outlive their clients. Call it before there are any.
  void LimitUsage(UsageTimer* timer) { usage_timer_ = timer; }
  // What all clients of `identity` are held to; null when it has no limits.
  bool has_limits() const {
    return has_limits_.load(std::memory_order_relaxed);
  }
  std::shared_ptr<UsageLimiter> LimiterOf(const Identity& identity) const
      ABSL_LOCKS_EXCLUDED(usage_mu_);
  // Those that are in use, by name.
  std::vector<std::pair<std::string, UsageLimiter::Stats>> GetUsage() const
      ABSL_LOCKS_EXCLUDED(usage_mu_);

  AuthorityStats GetStats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Most identities that are remembered.
  static constexpr size_t kMaxSubjects = 4096;
  // When so many have limits, those without clients are forgotten.
  static constexpr size_t kMaxIdleLimiters = 4096;

  Authority(std::optional<WatchedFile> policy_file,
            std::optional<WatchedFile> token_file)
      : policy_file_(std::move(policy_file)),
        token_file_(std::move(token_file)) {}

  // Reads what has changed, and takes it over.
  absl::Status ReadPolicy();
  absl::Status ReadTokens();
  // Holds those who are here to what the policy says now.
  void ReviewUsage() ABSL_LOCKS_EXCLUDED(mu_, usage_mu_);

  std::optional<WatchedFile> policy_file_;  // Reload's.
  std::optional<WatchedFile> token_file_;
  bool policy_is_good_ = true;
  bool tokens_are_good_ = true;
  std::atomic<bool> current_{true};
  std::atomic<uint64_t> reloads_{0};
  std::atomic<uint64_t> refused_reloads_{0};
  mutable std::atomic<uint64_t> decisions_[4] = {};

  mutable SharedMutex mu_;
  std::shared_ptr<const Policy> policy_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const TokenFile> tokens_ ABSL_GUARDED_BY(mu_);
  // Of the present files.
  mutable absl::flat_hash_map<std::string, std::shared_ptr<const Subject>>
      subjects_ ABSL_GUARDED_BY(mu_);

  std::atomic<bool> has_limits_{false};
  UsageTimer* usage_timer_ = nullptr;
  mutable Mutex usage_mu_;
  // By limited name.
  mutable absl::flat_hash_map<std::string, std::shared_ptr<UsageLimiter>>
      limiters_ ABSL_GUARDED_BY(usage_mu_);
};

// The errors of decisions, with what to do. `name` is "" for the server.
// PERMISSION_DENIED, reason PERMISSION_DENIED.
absl::Status DeniedError(const Identity& identity, Right right,
                         std::string_view name);
// UNAUTHENTICATED, reason UNAUTHENTICATED.
absl::Status UnauthenticatedError();

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_AUTHORITY_H_
