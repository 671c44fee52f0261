#include "server/access/policy.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/printable.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "ramvol/v1/access_policy.pb.h"
#include "server/access/glob.h"

namespace ramvol::access {
namespace {

using google::protobuf::TextFormat;

constexpr size_t kLookUpBytes = size_t{16} << 10;
constexpr char kAnonymous[] = "anonymous";

std::string_view ToStd(absl::string_view s) { return {s.data(), s.size()}; }

// Protobuf counts lines and columns from 0, people from 1.
absl::Status At(const std::string& path, int line, int column,
                absl::string_view what) {
  const std::string place =
      line < 0 ? path : absl::StrCat(path, ":", line + 1, ":", column + 1);
  return absl::InvalidArgumentError(
      absl::StrCat(place, ": ", what,
                   "; correct it (the fields are those of "
                   "ramvol.v1.AccessPolicy)"));
}

// Keeps the first error.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(const std::string& path) : path_(path) {}

  void AddError(int line, int column, const std::string& message) override {
    if (status_.ok()) status_ = At(path_, line, column, Printable(message));
  }

  const absl::Status& status() const { return status_; }

 private:
  const std::string& path_;
  absl::Status status_;
};

Role FromProto(v1::Role role) {
  switch (role) {
    case v1::ROLE_VIEWER:
      return Role::kViewer;
    case v1::ROLE_READER:
      return Role::kReader;
    case v1::ROLE_WRITER:
      return Role::kWriter;
    case v1::ROLE_OWNER:
      return Role::kOwner;
    case v1::ROLE_ADMIN:
      return Role::kAdmin;
    default:
      return Role::kNone;
  }
}

std::optional<uint32_t> UserNumber(const std::string& name) {
  std::array<char, kLookUpBytes> buffer{};
  passwd user{};
  passwd* found = nullptr;
  getpwnam_r(name.c_str(), &user, buffer.data(), buffer.size(), &found);
  if (found == nullptr) return std::nullopt;
  return found->pw_uid;
}

std::optional<uint32_t> GroupNumber(const std::string& name) {
  std::array<char, kLookUpBytes> buffer{};
  group entry{};
  group* found = nullptr;
  getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) return std::nullopt;
  return found->gr_gid;
}

// "unix:0" for "unix:root". INVALID_ARGUMENT says what is wrong.
absl::StatusOr<std::string> ParseIdentity(const std::string& pattern) {
  if (pattern == kAnonymous) return pattern;
  const absl::string_view text = pattern;
  for (const char* kind :
       {"uri:", "dns:", "cn:", "psk:", "token:", "socket:"}) {
    if (absl::StartsWith(text, kind)) return pattern;
  }
  for (const bool is_user : {true, false}) {
    absl::string_view name = text;
    const char* const kind = is_user ? "unix:" : "group:";
    if (!absl::ConsumePrefix(&name, kind)) continue;
    uint32_t number = 0;
    if (name == "*" || absl::SimpleAtoi(name, &number)) return pattern;
    const auto known = is_user ? UserNumber(std::string(name))
                               : GroupNumber(std::string(name));
    if (known.has_value()) return absl::StrCat(kind, *known);
    return absl::InvalidArgumentError(absl::StrCat(
        "this system has no ", is_user ? "user " : "group ",
        Quoted(ToStd(name)), ", and a number or \"*\" would be needed else"));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "identity ", Quoted(pattern),
      " does not begin with uri:, dns:, cn:, psk:, token:, unix:, group: or "
      "socket:, nor is it anonymous"));
}

absl::StatusOr<UsageLimits> LimitsFrom(const v1::UsageLimits& limits) {
  const auto positive = [](int64_t value) {
    return static_cast<uint64_t>(std::max<int64_t>(value, 0));
  };
  const UsageLimits read = {
      .iops_total = positive(limits.iops_total()),
      .bps_total = positive(limits.bps_total()),
      .iops_total_max = positive(limits.iops_total_max()),
      .bps_total_max = positive(limits.bps_total_max()),
      .io_streams = positive(limits.io_streams()),
      .nbd_connections = positive(limits.nbd_connections())};
  if (read == UsageLimits()) {
    return absl::InvalidArgumentError("the limits limit nothing");
  }
  const auto too_small = [](uint64_t most, uint64_t rate) {
    return most != 0 && most < rate;
  };
  if (too_small(read.iops_total_max, read.iops_total) ||
      too_small(read.bps_total_max, read.bps_total)) {
    return absl::InvalidArgumentError(
        "iops_total_max or bps_total_max is less than iops_total or bps_total");
  }
  return read;
}

}  // namespace

// Makes a policy of what was parsed.
class PolicyReader {
 public:
  PolicyReader(const std::string& path, const TextFormat::ParseInfoTree& places)
      : path_(path), places_(places) {}

  absl::StatusOr<std::shared_ptr<const Policy>> Read(
      const v1::AccessPolicy& message) const {
    auto policy = std::make_shared<Policy>();
    if (message.grants_size() > Policy::kMaxGrants) {
      return AtGrant(
          Policy::kMaxGrants,
          absl::StrCat("there are more than ", Policy::kMaxGrants, " grants"));
    }
    for (int i = 0; i < message.grants_size(); ++i) {
      Policy::Entry entry;
      absl::Status status = ReadIdentities(i, message.grants(i), &entry);
      if (status.ok()) status = ReadVolumes(i, message.grants(i), &entry.grant);
      if (status.ok()) status = ReadRole(i, message.grants(i), &entry.grant);
      if (!status.ok()) return status;
      policy->grants_.push_back(std::move(entry));
    }
    absl::Status status = ReadLimits(message, &*policy);
    if (!status.ok()) return status;
    return policy;
  }

 private:
  // At the entry of AccessPolicy.limits.
  absl::Status AtLimits(int index, absl::string_view what) const {
    const auto place =
        places_.GetLocation(v1::AccessPolicy::descriptor()->FindFieldByNumber(
                                v1::AccessPolicy::kLimitsFieldNumber),
                            index);
    return At(path_, place.line, place.column, what);
  }

  absl::Status ReadLimits(const v1::AccessPolicy& message,
                          Policy* policy) const {
    if (message.limits_size() > Policy::kMaxGrants) {
      return AtLimits(
          Policy::kMaxGrants,
          absl::StrCat("there are more than ", Policy::kMaxGrants, " limits"));
    }
    for (int i = 0; i < message.limits_size(); ++i) {
      auto limited = ReadLimited(message.limits(i));
      if (!limited.ok()) return AtLimits(i, limited.status().message());
      policy->limits_.push_back(*std::move(limited));
    }
    return absl::OkStatus();
  }

  static absl::StatusOr<Policy::Limited> ReadLimited(
      const v1::IdentityLimits& message) {
    if (message.identities().empty() ||
        message.identities_size() > Policy::kMaxPatterns) {
      return absl::InvalidArgumentError(absl::StrCat(
          "limits are of 1 to ", Policy::kMaxPatterns, " identities"));
    }
    Policy::Limited limited;
    for (const std::string& pattern : message.identities()) {
      absl::Status status = CheckPattern(pattern);
      auto parsed = ParseIdentity(pattern);
      if (status.ok()) status = parsed.status();
      if (!status.ok()) return status;
      limited.identities.push_back(*std::move(parsed));
    }
    auto limits = LimitsFrom(message.limits());
    if (!limits.ok()) return limits.status();
    limited.limits = *limits;
    return limited;
  }

  static const google::protobuf::FieldDescriptor* Field(int number) {
    return v1::AccessGrant::descriptor()->FindFieldByNumber(number);
  }

  absl::Status AtGrant(int index, absl::string_view what) const {
    const auto place =
        places_.GetLocation(v1::AccessPolicy::descriptor()->FindFieldByNumber(
                                v1::AccessPolicy::kGrantsFieldNumber),
                            index);
    return At(path_, place.line, place.column, what);
  }
  // At a field of a grant; at the grant where the field is not there.
  absl::Status AtField(int grant, int number, int index,
                       absl::string_view what) const {
    const auto* tree = places_.GetTreeForNested(
        v1::AccessPolicy::descriptor()->FindFieldByNumber(
            v1::AccessPolicy::kGrantsFieldNumber),
        grant);
    if (tree == nullptr) return AtGrant(grant, what);
    const auto place = tree->GetLocation(Field(number), index);
    if (place.line < 0) return AtGrant(grant, what);
    return At(path_, place.line, place.column, what);
  }

  static absl::Status CheckPattern(const std::string& pattern) {
    if (pattern.empty()) {
      return absl::InvalidArgumentError("the pattern is empty");
    }
    if (pattern.size() > Policy::kMaxPatternBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("the pattern has ", pattern.size(), " bytes, more than ",
                       Policy::kMaxPatternBytes));
    }
    return absl::OkStatus();
  }

  absl::Status ReadIdentities(int index, const v1::AccessGrant& grant,
                              Policy::Entry* entry) const {
    constexpr int kField = v1::AccessGrant::kIdentitiesFieldNumber;
    if (grant.identities().empty()) {
      return AtGrant(index, "the grant has no identities");
    }
    if (grant.identities_size() > Policy::kMaxPatterns) {
      return AtField(index, kField, Policy::kMaxPatterns,
                     absl::StrCat("the grant has more than ",
                                  Policy::kMaxPatterns, " identities"));
    }
    for (int i = 0; i < grant.identities_size(); ++i) {
      absl::Status status = CheckPattern(grant.identities(i));
      auto parsed = ParseIdentity(grant.identities(i));
      if (status.ok()) status = parsed.status();
      if (!status.ok()) return AtField(index, kField, i, status.message());
      entry->identities.push_back(*std::move(parsed));
    }
    return absl::OkStatus();
  }

  absl::Status ReadVolumes(int index, const v1::AccessGrant& grant,
                           Grant* read) const {
    constexpr int kField = v1::AccessGrant::kVolumesFieldNumber;
    constexpr int kLabels = v1::AccessGrant::kLabelsFieldNumber;
    if (grant.volumes_size() > Policy::kMaxPatterns) {
      return AtField(index, kField, Policy::kMaxPatterns,
                     absl::StrCat("the grant has more than ",
                                  Policy::kMaxPatterns, " volumes"));
    }
    for (int i = 0; i < grant.volumes_size(); ++i) {
      const absl::Status status = CheckPattern(grant.volumes(i));
      if (!status.ok()) return AtField(index, kField, i, status.message());
      read->volumes.push_back(grant.volumes(i));
    }
    if (grant.labels_size() > Policy::kMaxPatterns) {
      return AtField(index, kLabels, 0,
                     absl::StrCat("the grant has more than ",
                                  Policy::kMaxPatterns, " labels"));
    }
    for (const auto& [key, value] : grant.labels()) {
      if (key.empty() || value.size() > Policy::kMaxPatternBytes) {
        return AtField(index, kLabels, 0,
                       "a label has no key, or a value that is too long");
      }
      read->labels.emplace_back(key, value);
    }
    return absl::OkStatus();
  }

  absl::Status ReadRole(int index, const v1::AccessGrant& grant,
                        Grant* read) const {
    read->role = FromProto(grant.role());
    constexpr int kField = v1::AccessGrant::kRoleFieldNumber;
    if (read->role == Role::kNone) {
      return AtField(index, kField, -1,
                     "the grant has no role: ROLE_VIEWER, ROLE_READER, "
                     "ROLE_WRITER, ROLE_OWNER or ROLE_ADMIN");
    }
    const bool everywhere = read->volumes.empty() && read->labels.empty();
    if (read->role == Role::kAdmin && !everywhere) {
      return AtField(index, kField, -1,
                     "ROLE_ADMIN is of the server with all its volumes; leave "
                     "volumes and labels out, or grant ROLE_OWNER");
    }
    return absl::OkStatus();
  }

  const std::string& path_;
  const TextFormat::ParseInfoTree& places_;
};

bool Grant::CoversName(std::string_view name) const {
  if (volumes.empty()) return true;
  const std::string_view bare =
      !name.empty() && name[0] == '@' ? name.substr(1) : name;
  return std::any_of(volumes.begin(), volumes.end(),
                     [&](const std::string& pattern) {
                       return Fits(pattern, pattern[0] == '@' ? name : bare);
                     });
}

bool Grant::CoversLabels(const Labels& of) const {
  return std::all_of(labels.begin(), labels.end(), [&](const auto& wanted) {
    const auto found = of.find(wanted.first);
    return found != of.end() && Fits(wanted.second, found->second);
  });
}

absl::StatusOr<std::shared_ptr<const Policy>> Policy::Parse(
    const std::string& path, const std::string& text) {
  v1::AccessPolicy message;
  FirstError error(path);
  TextFormat::ParseInfoTree places;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.WriteLocationsTo(&places);
  if (!parser.ParseFromString(text, &message)) return error.status();
  return PolicyReader(path, places).Read(message);
}

std::vector<const Grant*> Policy::GrantsFor(const Identity& identity) const {
  const auto fits = [&](const std::string& pattern) {
    return pattern == kAnonymous ||
           std::any_of(
               identity.names.begin(), identity.names.end(),
               [&](const std::string& name) { return Fits(pattern, name); });
  };
  std::vector<const Grant*> grants;
  for (const Entry& entry : grants_) {
    if (std::any_of(entry.identities.begin(), entry.identities.end(), fits)) {
      grants.push_back(&entry.grant);
    }
  }
  return grants;
}

bool Policy::Limited::Covers(const std::string& name) const {
  return std::any_of(
      identities.begin(), identities.end(),
      [&](const std::string& pattern) { return Fits(pattern, name); });
}

std::string Policy::LimitedName(const Identity& identity) const {
  for (const Limited& limited : limits_) {
    for (const std::string& name : identity.names) {
      if (limited.Covers(name)) return name;
    }
    if (limited.Covers(kAnonymous)) {
      return identity.anonymous() ? kAnonymous : identity.names.front();
    }
  }
  return "";
}

UsageLimits Policy::LimitsOf(const std::string& limited_name) const {
  for (const Limited& limited : limits_) {
    if (limited.Covers(limited_name) || limited.Covers(kAnonymous)) {
      return limited.limits;
    }
  }
  return {};
}

bool Subject::admin() const {
  return std::any_of(grants_.begin(), grants_.end(), [](const Grant* grant) {
    return grant->role == Role::kAdmin;
  });
}

bool Subject::sees_all() const {
  return std::any_of(grants_.begin(), grants_.end(), [](const Grant* grant) {
    const auto& volumes = grant->volumes;
    return grant->role >= Role::kViewer && grant->labels.empty() &&
           (volumes.empty() ||
            std::find(volumes.begin(), volumes.end(), "*") != volumes.end());
  });
}

Subject::Known Subject::LookUp(std::string_view name) const {
  Known known;
  for (const Grant* grant : grants_) {
    if (!grant->CoversName(name)) continue;
    if (grant->labels.empty()) {
      known.role = std::max(known.role, grant->role);
    } else {
      known.by_labels.push_back(grant);
    }
  }
  std::erase_if(known.by_labels,
                [&](const Grant* grant) { return grant->role <= known.role; });
  return known;
}

Role Subject::RoleOn(std::string_view name, LabelsOf labels) const {
  if (name.size() > kMaxNameBytes) return Role::kNone;  // Nothing is called so.
  const absl::string_view key(name.data(), name.size());
  std::shared_ptr<const Known> known;
  {
    ReaderMutexLock lock(&mu_);
    const auto found = known_.find(key);
    if (found != known_.end()) known = found->second;
  }
  if (known == nullptr) {
    known = std::make_shared<const Known>(LookUp(name));
    WriterMutexLock lock(&mu_);
    // Names that nobody has must not fill memory.
    if (known_.size() >= kMaxKnown) known_.clear();
    known_.emplace(key, known);
  }
  Role role = known->role;
  if (known->by_labels.empty()) return role;
  const Labels of = labels();
  for (const Grant* grant : known->by_labels) {
    if (grant->role > role && grant->CoversLabels(of)) role = grant->role;
  }
  return role;
}

}  // namespace ramvol::access
