#include "engine/tenant_usage.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/error.h"

namespace kvasir {
namespace {

constexpr absl::Duration kRetryAfter = absl::Seconds(60);

absl::Status OverQuota(const char* what, const char* flag, int64_t used, int64_t more,
                       int64_t limit) {
  return MakeError(
      Reason::kQuota,
      absl::StrCat(what, ": ", used, " and ", more, " more are over the limit of ", limit, " (",
                   flag, "); delete or truncate sessions, or let them expire"),
      {{"quota", what}, {"limit", absl::StrCat(limit)}, {"used", absl::StrCat(used)}}, kRetryAfter);
}

}  // namespace

void TenantUsage::Add(const std::string& tenant, const std::string& id, int64_t sessions,
                      int64_t tokens) {
  if (!limited()) return;
  Usage& usage = usage_[tenant];
  usage.sessions += sessions;
  usage.tokens += tokens;
  if (!is_counting_ || id > counted_to_) return;
  Usage& counted = counted_[tenant];
  counted.sessions += sessions;
  counted.tokens += tokens;
}

TenantUsage::Usage TenantUsage::UsageOf(const std::string& tenant) const {
  const auto found = usage_.find(tenant);
  return found != usage_.end() ? found->second : Usage();
}

absl::Status TenantUsage::Check(const std::string& tenant, int64_t sessions, int64_t tokens) const {
  const Usage usage = UsageOf(tenant);
  if (limits_.sessions > 0 && sessions > 0 && usage.sessions + sessions > limits_.sessions) {
    return OverQuota("sessions", "--max-sessions", usage.sessions, sessions, limits_.sessions);
  }
  if (limits_.tokens > 0 && tokens > 0 && usage.tokens + tokens > limits_.tokens) {
    return OverQuota("session tokens", "--max-session-tokens", usage.tokens, tokens,
                     limits_.tokens);
  }
  return absl::OkStatus();
}

int64_t TenantUsage::Room(const std::string& tenant) const {
  if (limits_.tokens == 0) return std::numeric_limits<int64_t>::max();
  return std::max<int64_t>(limits_.tokens - UsageOf(tenant).tokens, 0);
}

bool TenantUsage::BeginCount() {
  if (is_counting_) return false;
  is_counting_ = true;
  counted_.clear();
  counted_to_.clear();
  return true;
}

void TenantUsage::Count(const std::string& tenant, int64_t tokens) {
  Usage& usage = counted_[tenant];
  ++usage.sessions;
  usage.tokens += tokens;
}

void TenantUsage::EndCount() {
  usage_.swap(counted_);
  is_counting_ = false;
}

}  // namespace kvasir
