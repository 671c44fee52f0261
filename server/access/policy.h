// Which roles identities have on which volumes.
#ifndef RAMVOL_SERVER_ACCESS_POLICY_H_
#define RAMVOL_SERVER_ACCESS_POLICY_H_

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/usage_limits.h"
#include "server/access/identity.h"
#include "server/access/role.h"

namespace ramvol::access {

using Labels = std::map<std::string, std::string>;
// The labels of the volume that is asked about; called only when they matter.
using LabelsOf = absl::FunctionRef<Labels()>;

// A grant without its identities. See AccessGrant.
struct Grant {
  std::vector<std::string> volumes;
  std::vector<std::pair<std::string, std::string>> labels;
  Role role = Role::kNone;

  // Whether a pattern of `volumes` fits. A snapshot's name begins with "@".
  bool CoversName(std::string_view name) const;
  bool CoversLabels(const Labels& of) const;
};

// A policy as the file says it. Constant, so thread-safe.
class Policy {
 public:
  static constexpr int kMaxGrants = 1000;
  static constexpr int kMaxPatterns = 100;
  static constexpr size_t kMaxPatternBytes = 512;

  // Parses the text of the file `path`, an AccessPolicy. INVALID_ARGUMENT
  // begins with "PATH:LINE:COLUMN: ". Users and groups must be known to the
  // system, or be numbers.
  static absl::StatusOr<std::shared_ptr<const Policy>> Parse(
      const std::string& path, const std::string& text);

  // The grants for an identity.
  std::vector<const Grant*> GrantsFor(const Identity& identity) const;
  size_t size() const { return grants_.size(); }
  bool has_limits() const { return !limits_.empty(); }

  // Under which of its names the use of `identity` counts, "anonymous" among
  // them; "" when it has no limits.
  std::string LimitedName(const Identity& identity) const;
  // The limits that go with such a name.
  UsageLimits LimitsOf(const std::string& limited_name) const;

 private:
  struct Entry {
    std::vector<std::string> identities;
    Grant grant;
  };
  struct Limited {
    std::vector<std::string> identities;
    UsageLimits limits;

    bool Covers(const std::string& name) const;
  };
  friend class PolicyReader;

  std::vector<Entry> grants_;
  std::vector<Limited> limits_;
};

// What one policy gives to one identity. Thread-safe.
class Subject {
 public:
  Subject(std::shared_ptr<const Policy> policy, const Identity& identity)
      : policy_(std::move(policy)),
        grants_(policy_->GrantsFor(identity)),
        limited_name_(policy_->LimitedName(identity)) {}

  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  // The highest role on the volume `name`, or on the snapshot of that name if
  // "@" comes first. The cost does not depend on the policy if the same name
  // was asked for lately, but for grants with labels that cover the name.
  Role RoleOn(std::string_view name, LabelsOf labels) const
      ABSL_LOCKS_EXCLUDED(mu_);
  // Whether there is any grant.
  bool any() const { return !grants_.empty(); }
  // Whether one of them is of the server.
  bool admin() const;
  // Whether one of them lets see all volumes and snapshots.
  bool sees_all() const;
  const std::vector<const Grant*>& grants() const { return grants_; }
  // See Policy::LimitedName.
  const std::string& limited_name() const { return limited_name_; }
  UsageLimits limits() const { return policy_->LimitsOf(limited_name_); }

 private:
  // What is known about a name.
  struct Known {
    Role role = Role::kNone;              // Whatever the labels.
    std::vector<const Grant*> by_labels;  // That would give more.
  };
  static constexpr size_t kMaxKnown = 1024;
  static constexpr size_t kMaxNameBytes = 256;

  Known LookUp(std::string_view name) const;

  const std::shared_ptr<const Policy> policy_;
  const std::vector<const Grant*> grants_;
  const std::string limited_name_;
  mutable SharedMutex mu_;
  mutable absl::flat_hash_map<std::string, std::shared_ptr<const Known>> known_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_POLICY_H_
