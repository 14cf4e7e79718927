#include "services/cli/retries.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "services/cli/interrupts.h"
#include "services/grpc_status.h"

namespace kvasir::cli {
namespace {

constexpr std::chrono::milliseconds kFirstWait(100);
constexpr std::chrono::milliseconds kLongestWait(2000);
// Nobody need hear of an outage that is shorter.
constexpr std::chrono::seconds kSilence(1);

// "30", "0.5".
std::string Seconds(Retries::Clock::duration duration) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", std::chrono::duration<double>(duration).count());
  return text;
}

}  // namespace

bool IsTransient(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
      return true;
    case grpc::StatusCode::UNKNOWN:
      return DetailOf(status).reason.empty();
    case grpc::StatusCode::ABORTED:
      return DetailOf(status).reason == NameOf(Reason::kLeaseLost);
    default:
      return false;
  }
}

Retries::Retries(Clock::duration budget, Waiting waiting)
    : budget_(budget), waiting_(std::move(waiting)) {}

bool Retries::Again(grpc::Status& failure) {
  const auto interrupted = [&] {
    if (!Interrupts::Get().pending()) return false;
    outage_.reset();
    failure = grpc::Status(grpc::StatusCode::CANCELLED, "interrupted");
    return true;
  };
  if (interrupted()) return false;
  if (off_ > 0 || budget_ == Clock::duration::zero()) return false;
  const Clock::time_point now = waiting_.now();
  if (!outage_.has_value()) outage_ = Outage{now, kFirstWait};
  const Clock::duration left = outage_->begin + budget_ - now;
  const std::optional<Clock::duration> wait = NextWait(failure, left);
  if (!wait.has_value()) {
    outage_.reset();
    failure = grpc::Status(failure.error_code(),
                           "given up after " + Seconds(budget_) +
                               " s (--retry-for); the last cause: " + failure.error_message(),
                           failure.error_details());
    return false;
  }
  if (!outage_->told && now - outage_->begin >= kSilence) Tell(failure, left);
  waiting_.sleep(*wait);
  return !interrupted();
}

std::optional<Retries::Clock::duration> Retries::NextWait(const grpc::Status& failure,
                                                          Clock::duration left) {
  const Clock::duration longest = outage_->next_wait;
  outage_->next_wait = std::min<Clock::duration>(2 * longest, kLongestWait);
  Clock::duration asked(0);
  if (const auto retry_after = DetailOf(failure).retry_after) {
    asked = absl::ToChronoNanoseconds(*retry_after);
  }
  if (left <= Clock::duration::zero() || asked > left) return std::nullopt;
  std::uniform_int_distribution<int64_t> jittered((longest / 2).count(), longest.count());
  // The last try is at the end of the budget.
  return std::min(left, std::max(asked, Clock::duration(jittered(random_))));
}

void Retries::Tell(const grpc::Status& failure, Clock::duration left) {
  outage_->told = true;
  const std::string reason = DetailOf(failure).reason;
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(left).count();
  waiting_.tell((reason.empty() ? "the server cannot be reached"
                                : "the server cannot serve this yet (" + reason + ")") +
                "; trying again for " + std::to_string(seconds) + " s");
}

}  // namespace kvasir::cli
