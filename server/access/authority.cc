#include "server/access/authority.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/event_log.h"
#include "base/printable.h"
#include "base/reason.h"

namespace ramvol::access {
namespace {

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

// Tokens of one name may come and go one by one.
std::string KeyOf(const Identity& identity) {
  std::string key;
  for (const std::string& name : identity.names) {
    key.append(name);
    key.push_back(' ');
  }
  if (identity.token.has_value()) {
    key.append(identity.token->begin(), identity.token->end());
  }
  return key;
}

Decision DecideBy(const Subject& subject, const Identity& identity, Right right,
                  std::string_view name, LabelsOf labels) {
  if (!subject.any() && identity.anonymous()) return Decision::kUnauthenticated;
  if (right == Right::kEnter) {
    return subject.any() ? Decision::kAllowed : Decision::kDenied;
  }
  if (right == Right::kServer) {
    return subject.admin() ? Decision::kAllowed : Decision::kDenied;
  }
  const Role role = subject.RoleOn(name, labels);
  if (role >= RoleFor(right)) return Decision::kAllowed;
  return role == Role::kNone ? Decision::kInvisible : Decision::kDenied;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authority>> Authority::Make(
    const std::string& policy_path, const std::string& token_path) {
  const auto file = [](const std::string& path) {
    return path.empty() ? std::nullopt : std::optional<WatchedFile>(path);
  };
  std::unique_ptr<Authority> authority(
      new Authority(file(policy_path), file(token_path)));
  if (authority->has_policy()) {
    const absl::Status status = authority->ReadPolicy();
    if (!status.ok()) return Annotate(status, "--auth_policy");
    WriterMutexLock lock(&authority->mu_);
    // Somebody is writing it.
    if (authority->policy_ == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--auth_policy: ", policy_path,
          " changes while it is read; start again when it is complete"));
    }
  }
  if (authority->has_tokens()) {
    const absl::Status status = authority->ReadTokens();
    if (!status.ok()) return Annotate(status, "--token_file");
  }
  return authority;
}

absl::Status Authority::ReadPolicy() {
  const auto text = policy_file_->ReadIfChanged();
  if (!text.has_value()) return absl::OkStatus();
  if (!text->ok()) return text->status();
  auto policy = Policy::Parse(policy_file_->path(), **text);
  if (!policy.ok()) return policy.status();
  policy_is_good_ = true;
  reloads_.fetch_add(1, std::memory_order_relaxed);
  has_limits_.store((*policy)->has_limits(), std::memory_order_relaxed);
  WriterMutexLock lock(&mu_);
  policy_ = *std::move(policy);
  subjects_.clear();
  return absl::OkStatus();
}

absl::Status Authority::ReadTokens() {
  const auto text = token_file_->ReadIfChanged();
  if (!text.has_value()) return absl::OkStatus();
  if (!text->ok()) return text->status();
  auto tokens = TokenFile::Parse(token_file_->path(), **text);
  if (!tokens.ok()) return tokens.status();
  tokens_are_good_ = true;
  reloads_.fetch_add(1, std::memory_order_relaxed);
  WriterMutexLock lock(&mu_);
  tokens_ = std::make_shared<const TokenFile>(*std::move(tokens));
  subjects_.clear();
  return absl::OkStatus();
}

void Authority::Reload() {
  const auto take = [this](absl::Status status, bool* good) {
    if (status.ok()) return;
    *good = false;
    refused_reloads_.fetch_add(1, std::memory_order_relaxed);
    LogEvent(Event::kAccessWarning,
             {.message = absl::StrCat(
                  status.message(), "; what was read before stays in force")});
  };
  const uint64_t before = reloads_.load(std::memory_order_relaxed);
  if (has_policy()) take(ReadPolicy(), &policy_is_good_);
  if (has_tokens()) take(ReadTokens(), &tokens_are_good_);
  current_.store(policy_is_good_ && tokens_are_good_,
                 std::memory_order_relaxed);
  if (reloads_.load(std::memory_order_relaxed) == before) return;
  ReviewUsage();
  const AuthorityStats stats = GetStats();
  LogEvent(Event::kAccessChanged,
           {.message = absl::StrCat(stats.grants, " grants and ", stats.tokens,
                                    " tokens are in force")});
}

absl::Status Authority::AddToken(std::string_view token,
                                 Identity* identity) const {
  if (token.size() <= kMaxTokenBytes) {
    const TokenDigest digest = DigestOf(token);
    ReaderMutexLock lock(&mu_);
    const std::string* name =
        tokens_ == nullptr ? nullptr : tokens_->Find(digest);
    if (name != nullptr) {
      identity->names.push_back(absl::StrCat("token:", *name));
      identity->token = digest;
      return absl::OkStatus();
    }
  }
  Count(Decision::kUnauthenticated);
  return WithReason(
      absl::UnauthenticatedError(
          "the server does not know this bearer token; ask for a new one, or "
          "send none"),
      reason::kUnauthenticated);
}

std::shared_ptr<const Subject> Authority::SubjectOf(
    const Identity& identity) const {
  if (!has_policy()) return nullptr;
  const std::string key = KeyOf(identity);
  std::shared_ptr<const Policy> policy;
  bool known = true;
  {
    ReaderMutexLock lock(&mu_);
    const auto found = subjects_.find(key);
    if (found != subjects_.end()) return found->second;
    policy = policy_;
    if (identity.token.has_value()) {
      known = tokens_ != nullptr && tokens_->Find(*identity.token) != nullptr;
    }
  }
  // A token that was taken away takes all else with it.
  auto subject = known ? std::make_shared<const Subject>(policy, identity)
                       : std::make_shared<const Subject>(
                             std::make_shared<Policy>(), Identity());
  WriterMutexLock lock(&mu_);
  if (policy != policy_) return subject;  // Of yesterday, for this once.
  if (subjects_.size() >= kMaxSubjects) subjects_.clear();
  return subjects_.emplace(key, std::move(subject)).first->second;
}

Decision Authority::Decide(const Identity& identity, Right right,
                           std::string_view name, LabelsOf labels) const {
  if (right == Right::kNothing || !has_policy()) return Decision::kAllowed;
  return DecideBy(*SubjectOf(identity), identity, right, name, labels);
}

Decision Authority::Check(const Identity& identity, Right right,
                          std::string_view name, LabelsOf labels) const {
  const Decision decision = Decide(identity, right, name, labels);
  if (has_policy()) Count(decision);
  return decision;
}

void Authority::Count(Decision decision) const {
  decisions_[static_cast<size_t>(decision)].fetch_add(
      1, std::memory_order_relaxed);
}

std::shared_ptr<UsageLimiter> Authority::LimiterOf(
    const Identity& identity) const {
  if (usage_timer_ == nullptr || !has_limits()) return nullptr;
  const auto subject = SubjectOf(identity);
  const std::string& name = subject->limited_name();
  if (name.empty()) return nullptr;
  MutexLock lock(&usage_mu_);
  auto& limiter = limiters_[name];
  if (limiter != nullptr) return limiter;
  limiter = std::make_shared<UsageLimiter>();
  limiter->SetLimits(subject->limits(), usage_timer_);
  const auto made = limiter;
  if (limiters_.size() > kMaxIdleLimiters) {
    absl::erase_if(limiters_, [](const auto& item) {
      return item.second.use_count() == 1;
    });
  }
  return made;
}

std::vector<std::pair<std::string, UsageLimiter::Stats>> Authority::GetUsage()
    const {
  std::vector<std::pair<std::string, UsageLimiter::Stats>> all;
  MutexLock lock(&usage_mu_);
  for (const auto& [name, limiter] : limiters_) {
    all.emplace_back(name, limiter->GetStats());
  }
  return all;
}

void Authority::ReviewUsage() {
  std::shared_ptr<const Policy> policy;
  {
    ReaderMutexLock lock(&mu_);
    policy = policy_;
  }
  if (policy == nullptr || usage_timer_ == nullptr) return;
  MutexLock lock(&usage_mu_);
  for (const auto& [name, limiter] : limiters_) {
    limiter->SetLimits(policy->LimitsOf(name), usage_timer_);
  }
}

AuthorityStats Authority::GetStats() const {
  const auto count = [this](Decision decision) {
    return decisions_[static_cast<size_t>(decision)].load(
        std::memory_order_relaxed);
  };
  AuthorityStats stats;
  stats.allowed = count(Decision::kAllowed);
  stats.denied = count(Decision::kDenied);
  stats.invisible = count(Decision::kInvisible);
  stats.unauthenticated = count(Decision::kUnauthenticated);
  stats.reloads = reloads_.load(std::memory_order_relaxed);
  stats.refused_reloads = refused_reloads_.load(std::memory_order_relaxed);
  stats.current = current_.load(std::memory_order_relaxed);
  ReaderMutexLock lock(&mu_);
  if (policy_ != nullptr) stats.grants = policy_->size();
  if (tokens_ != nullptr) stats.tokens = tokens_->size();
  return stats;
}

absl::Status DeniedError(const Identity& identity, Right right,
                         std::string_view name) {
  std::string what = "the server";
  if (right == Right::kEnter) what = "anything of this server";
  if (!name.empty()) {
    what = name[0] == '@'
               ? absl::StrCat("snapshot \"", ToAbsl(name.substr(1)), "\"")
               : absl::StrCat("volume \"", ToAbsl(name), "\"");
  }
  const std::string role =
      right == Right::kEnter
          ? "a role"
          : absl::StrCat("the role ", ToAbsl(NameOf(RoleFor(right))));
  return WithReason(
      absl::PermissionDeniedError(absl::StrCat(
          identity.Text(), " may not ", ToAbsl(WordsFor(right)), " ", what,
          "; that needs ", role, ", by a grant in the server's --auth_policy")),
      reason::kPermissionDenied);
}

absl::Status UnauthenticatedError() {
  return WithReason(
      absl::UnauthenticatedError(
          "the server does not know who you are; send a bearer token or a "
          "certificate, or connect to its Unix socket"),
      reason::kUnauthenticated);
}

}  // namespace ramvol::access
