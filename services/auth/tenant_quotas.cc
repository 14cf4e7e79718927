#include "services/auth/tenant_quotas.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "engine/check.h"
#include "engine/error.h"

namespace kvasir {
namespace {

// When a running request ends nobody knows.
constexpr absl::Duration kRetryConcurrent = absl::Seconds(1);

absl::Status Exceeded(const char* what, int64_t limit, absl::Duration retry_after) {
  return MakeError(Reason::kQuota,
                   absl::StrCat(what, ": the tenant has reached its limit of ", limit),
                   {{"quota", what}, {"limit", absl::StrCat(limit)}}, retry_after);
}

// Until a minute's `limit` has brought so much.
absl::Duration TimeFor(double missing, int64_t limit) {
  return absl::Minutes(1) * (missing / static_cast<double>(limit)) + absl::Milliseconds(1);
}

}  // namespace

absl::Status TenantQuotas::Begin(const std::string& tenant, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  Usage& usage = UsageOf(tenant, now);
  if (limits_.concurrent_requests > 0 && usage.running >= limits_.concurrent_requests) {
    return Exceeded("concurrent_requests", limits_.concurrent_requests, kRetryConcurrent);
  }
  if (limits_.requests_per_minute > 0 && usage.requests < 1) {
    return Exceeded("requests_per_minute", limits_.requests_per_minute,
                    TimeFor(1 - usage.requests, limits_.requests_per_minute));
  }
  if (limits_.tokens_per_minute > 0 && usage.tokens < 1) {
    return Exceeded("tokens_per_minute", limits_.tokens_per_minute,
                    TimeFor(1 - usage.tokens, limits_.tokens_per_minute));
  }
  usage.requests -= 1;
  ++usage.running;
  return absl::OkStatus();
}

void TenantQuotas::End(const std::string& tenant, uint64_t tokens, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  Usage& usage = UsageOf(tenant, now);
  KVASIR_CHECK(usage.running > 0);
  --usage.running;
  usage.tokens -= static_cast<double>(tokens);
}

size_t TenantQuotas::tenants() const {
  const std::lock_guard lock(mutex_);
  return usage_.size();
}

TenantQuotas::Usage& TenantQuotas::UsageOf(const std::string& tenant, Clock::time_point now) {
  if (usage_.size() >= forget_at_ && !usage_.contains(tenant)) Forget(now);
  const auto [found, fresh] = usage_.try_emplace(tenant);
  Usage& usage = found->second;
  if (fresh) {
    usage.requests = static_cast<double>(limits_.requests_per_minute);
    usage.tokens = static_cast<double>(limits_.tokens_per_minute);
    usage.filled = now;
  }
  Fill(usage, now);
  return usage;
}

void TenantQuotas::Fill(Usage& usage, Clock::time_point now) const {
  if (now <= usage.filled) return;  // another thread's clock was read later
  const std::chrono::duration<double, std::ratio<60>> minutes = now - usage.filled;
  usage.filled = now;
  const auto fill = [&](double& left, int64_t limit) {
    const auto most = static_cast<double>(limit);
    left = std::min(left + minutes.count() * most, most);
  };
  fill(usage.requests, limits_.requests_per_minute);
  fill(usage.tokens, limits_.tokens_per_minute);
}

void TenantQuotas::Forget(Clock::time_point now) {
  std::erase_if(usage_, [&](const auto& entry) {
    Usage usage = entry.second;
    Fill(usage, now);
    const bool full = usage.requests >= static_cast<double>(limits_.requests_per_minute) &&
                      usage.tokens >= static_cast<double>(limits_.tokens_per_minute);
    return full && usage.running == 0;
  });
  forget_at_ = std::max<size_t>(64, 2 * usage_.size());
}

}  // namespace kvasir
