#include "engine/tenant_usage.h"

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

void TenantUsage::Add(const std::string& tenant, int64_t sessions, int64_t tokens) {
  if (!limited()) return;
  Usage& usage = usage_[tenant];
  usage.sessions += sessions;
  usage.tokens += tokens;
}

void TenantUsage::Count(const std::string& tenant, int64_t tokens) {
  Usage& usage = counted_[tenant];
  ++usage.sessions;
  usage.tokens += tokens;
}

absl::Status TenantUsage::Check(const std::string& tenant, int64_t sessions, int64_t tokens) const {
  if (!limited()) return absl::OkStatus();
  const auto found = usage_.find(tenant);
  const Usage usage = found != usage_.end() ? found->second : Usage();
  if (limits_.sessions > 0 && sessions > 0 && usage.sessions + sessions > limits_.sessions) {
    return OverQuota("sessions", "--max-sessions", usage.sessions, sessions, limits_.sessions);
  }
  if (limits_.tokens > 0 && tokens > 0 && usage.tokens + tokens > limits_.tokens) {
    return OverQuota("session tokens", "--max-session-tokens", usage.tokens, tokens,
                     limits_.tokens);
  }
  return absl::OkStatus();
}

}  // namespace kvasir
