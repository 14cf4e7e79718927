#include "tests/services/crash/retrying_session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "services/grpc_status.h"

namespace kvasir::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kFirstPause(50), kLongestPause(1000);

std::string CauseOf(const grpc::Status& status) {
  const std::string reason = DetailOf(status).reason;
  return std::to_string(status.error_code()) + " " +
         (reason.empty() ? status.error_message() : reason);
}

// Whether a replica, the proxy or the line may have failed. Besides UNAVAILABLE, a stream that ends
// without a status may be CANCELLED, UNKNOWN or INTERNAL, by who ended it; with expected_length it
// is safe to ask again whatever it was.
bool IsPassing(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::UNAVAILABLE:
    case grpc::CANCELLED:
    case grpc::UNKNOWN:
      return true;
    case grpc::INTERNAL:  // a server's own is none to retry
      return status.error_message().find("RST_STREAM") != std::string::npos;
    case grpc::ABORTED:
      return DetailOf(status).reason != "LENGTH_MISMATCH";
    default:
      return false;
  }
}

}  // namespace

RetryingSession::Counts& RetryingSession::Counts::operator+=(const Counts& other) {
  repeated += other.repeated;
  read_back += other.read_back;
  continued += other.continued;
  for (const auto& [cause, count] : other.causes) causes[cause] += count;
  longest = std::max(longest, other.longest);
  return *this;
}

RetryingSession::RetryingSession(std::string id, uint64_t seed)
    : id_(std::move(id)), random_(seed) {}

void RetryingSession::SetUp(grpc::ClientContext& context) const {
  context.AddMetadata("kvasir-session", id_);
  context.set_deadline(std::chrono::system_clock::now() + kBudget);
}

Generation RetryingSession::Call(v1::ModelService::Stub& stub,
                                 const v1::GenerateRequest& request) const {
  grpc::ClientContext context;
  SetUp(context);
  return Generate(stub, request, context);
}

void RetryingSession::Turn(v1::ModelService::Stub& stub, const Ids& input,
                           uint32_t max_new_tokens) {
  turn_ = AskFor(id_, input, max_new_tokens);
  turn_.set_request_id(std::to_string(random_()));
  turn_.set_top_logprobs(1);
  turn_.set_expected_length(tokens_.size());
  if (history_.empty()) {
    turn_.set_create_if_missing(true);
    turn_.mutable_sampling()->set_seed(random_());  // the same one, should it be sent again
  }
  seen_ = Generation();
  stored_ = 0;
  pause_ = kFirstPause;
  const Clock::time_point begun = Clock::now();
  give_up_ = begun + kBudget;
  while (!Attempt(stub)) {
    if (!MayRetry(seen_.status)) return;
    const bool whole = LookUp(stub);
    if (::testing::Test::HasFailure()) return;
    if (whole) break;
    ++counts_.repeated;
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun);
  counts_.longest = std::max(counts_.longest, took);
  tokens_.insert(tokens_.end(), input.begin(), input.end());
  tokens_.insert(tokens_.end(), seen_.ids.begin(), seen_.ids.end());
  history_.push_back(TurnStep(turn_, seen_));
}

bool RetryingSession::Attempt(v1::ModelService::Stub& stub) {
  v1::GenerateRequest request = turn_;
  if (stored_ > 0) {
    request.clear_input_ids();
    request.set_max_new_tokens(turn_.max_new_tokens() - static_cast<uint32_t>(stored_));
    request.set_expected_length(tokens_.size() + turn_.input_ids_size() + stored_);
  }
  const Generation brought = Call(stub, request);
  See(brought);
  return brought.complete.has_value();
}

void RetryingSession::See(const Generation& brought) {
  seen_.status = brought.status;
  if (brought.started) cached_tokens_ = brought.started->cached_tokens();
  for (size_t i = 0; i < brought.ids.size(); ++i) {
    const size_t at = stored_ + i;
    if (at < seen_.ids.size()) {
      EXPECT_EQ(brought.ids[i], seen_.ids[at]) << id_ << ": the turn comes out differently";
    } else {
      seen_.ids.push_back(brought.ids[i]);
    }
    // Those of tokens that were read back alone are not known; then none behind them is compared.
    if (at == seen_.logprobs.size()) seen_.logprobs.push_back(brought.logprobs[i]);
  }
}

bool RetryingSession::MayRetry(const grpc::Status& why) {
  const bool mismatch = DetailOf(why).reason == "LENGTH_MISMATCH";  // LookUp tells who it was
  if (!IsPassing(why) && !mismatch) {
    ADD_FAILURE() << id_ << ": " << CauseOf(why) << ": " << why.error_message();
    return false;
  }
  if (Clock::now() + pause_ > give_up_) {
    ADD_FAILURE() << id_ << ": not within " << kBudget.count() << " s; last: " << CauseOf(why);
    return false;
  }
  ++counts_.causes[CauseOf(why)];
  // Half of it and a random part of the other half.
  std::this_thread::sleep_for(pause_ / 2 +
                              pause_ / 2 * std::uniform_real_distribution<>(0, 1)(random_));
  pause_ = std::min(2 * pause_, kLongestPause);
  return true;
}

bool RetryingSession::LookUp(v1::ModelService::Stub& stub) {
  while (true) {
    grpc::ClientContext context;
    SetUp(context);
    v1::GetSessionRequest request;
    request.set_session_id(id_);
    v1::GetSessionResponse response;
    const grpc::Status status = stub.GetSession(&context, request, &response);
    const uint64_t base = tokens_.size();
    if (status.error_code() == grpc::NOT_FOUND && history_.empty()) return false;
    if (!status.ok()) {
      if (!MayRetry(status)) return false;
      continue;
    }
    const v1::Session& session = response.session();
    if (session.busy()) {  // its replica has not yet heard that nobody listens any more
      if (!MayRetry({grpc::UNAVAILABLE, "busy"})) return false;
      continue;
    }
    const uint64_t known = base + (stored_ > 0 ? turn_.input_ids_size() + stored_ : 0);
    if (session.length() == known) return false;  // as before the attempt
    if (session.last_request_id() != turn_.request_id() || session.last_base_length() != known) {
      ADD_FAILURE() << id_ << ": somebody else has written it: " << session.ShortDebugString();
      return false;
    }
    if (ReadBack(stub, session)) return stored_ == turn_.max_new_tokens();
    if (::testing::Test::HasFailure()) return false;
  }
}

// False: it has to be looked up again.
bool RetryingSession::ReadBack(v1::ModelService::Stub& stub, const v1::Session& session) {
  grpc::ClientContext context;
  SetUp(context);
  v1::ReadSessionRequest request;
  request.set_session_id(id_);
  const uint64_t input_end = tokens_.size() + turn_.input_ids_size();
  request.set_offset(input_end);
  const auto reader = stub.ReadSession(&context, request);
  v1::ReadSessionResponse response;
  Ids there;
  while (reader->Read(&response)) {
    there.insert(there.end(), response.ids().begin(), response.ids().end());
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) {
    MayRetry(status);
    return false;
  }
  EXPECT_EQ(there.size(), session.length() - input_end) << id_;
  for (size_t i = 0; i < there.size(); ++i) {
    if (i == seen_.ids.size()) seen_.ids.push_back(there[i]);
    EXPECT_EQ(there[i], seen_.ids[i]) << id_ << ": what was told is not what is there";
  }
  stored_ = there.size();
  const bool whole = stored_ == turn_.max_new_tokens();
  EXPECT_TRUE(whole || session.last_finish_reason() == v1::FINISH_REASON_INTERRUPTED) << id_;
  ++counts_.read_back;
  if (!whole) ++counts_.continued;
  return true;
}

}  // namespace kvasir::testing
