#include "tests/services/crash/history.h"

#include <gtest/gtest.h>

#include <bit>
#include <utility>

namespace kvasir::testing {
namespace {

EngineOptions Roomy() {
  EngineOptions options = TinyOptions();
  options.threads = 1;
  return options;
}

bool SameBits(const v1::TokenLogprob& a, const v1::TokenLogprob& b) {
  const auto bits = [](float value) { return std::bit_cast<uint32_t>(value); };
  if (a.id() != b.id() || bits(a.logprob()) != bits(b.logprob())) return false;
  if (a.alternatives_size() != b.alternatives_size()) return false;
  for (int i = 0; i < a.alternatives_size(); ++i) {
    const v1::Alternative &x = a.alternatives(i), &y = b.alternatives(i);
    if (x.id() != y.id() || bits(x.logprob()) != bits(y.logprob())) return false;
  }
  return true;
}

}  // namespace

Step CreateStep(v1::CreateSessionRequest request) {
  Step step;
  step.kind = Step::Kind::kCreate;
  step.create = std::move(request);
  return step;
}

Step TurnStep(v1::GenerateRequest request, const Generation& seen) {
  Step step;
  step.kind = Step::Kind::kTurn;
  step.turn = std::move(request);
  step.ids = seen.ids;
  step.logprobs = seen.logprobs;
  return step;
}

Step TruncateStep(uint64_t length) {
  Step step;
  step.kind = Step::Kind::kTruncate;
  step.length = length;
  return step;
}

::testing::AssertionResult SameTokens(const Generation& expected, const Ids& ids,
                                      const std::vector<v1::TokenLogprob>& logprobs, size_t count) {
  using ::testing::AssertionFailure;
  if (expected.ids.size() < count || ids.size() < count) {
    return AssertionFailure() << ids.size() << " tokens, " << expected.ids.size()
                              << " come out undisturbed; expected " << count;
  }
  for (size_t i = 0; i < count; ++i) {
    if (ids[i] != expected.ids[i]) {
      return AssertionFailure() << "new token " << i << " is " << ids[i] << ", undisturbed "
                                << expected.ids[i];
    }
    if (i < logprobs.size() && i < expected.logprobs.size() &&
        !SameBits(logprobs[i], expected.logprobs[i])) {
      return AssertionFailure() << "new token " << i << ": " << logprobs[i].ShortDebugString()
                                << ", undisturbed " << expected.logprobs[i].ShortDebugString();
    }
  }
  return ::testing::AssertionSuccess();
}

Reference::Reference() : server_(Roomy()) {}

Reference::Run::Run(Reference& reference, const History& history)
    : stub_(reference.server_.stub()), id_("run-" + std::to_string(reference.runs_.fetch_add(1))) {
  for (const Step& step : history) Do(step);
}

Reference::Run::~Run() {
  if (!contents_.empty()) Delete(stub_, id_);
}

Generation Reference::Run::Do(const Step& step) {
  Generation generation;
  contents_.push_back(contents_.empty() ? Ids() : contents_.back());
  Ids& tokens = contents_.back();
  switch (step.kind) {
    case Step::Kind::kCreate: {
      v1::CreateSessionRequest request = step.create;
      request.set_session_id(id_);
      const grpc::Status status = Create(stub_, request);
      EXPECT_TRUE(status.ok()) << status.error_message();
      tokens.assign(request.initial_ids().begin(), request.initial_ids().end());
      break;
    }
    case Step::Kind::kTurn:
      Turn(step, generation);
      break;
    case Step::Kind::kTruncate: {
      v1::TruncateSessionRequest request;
      request.set_session_id(id_);
      request.set_length(step.length);
      const grpc::Status status = Truncate(stub_, request);
      EXPECT_TRUE(status.ok()) << status.error_message();
      tokens.resize(step.length);
      break;
    }
  }
  return generation;
}

void Reference::Run::Turn(const Step& step, Generation& generation) {
  v1::GenerateRequest request = step.turn;
  request.set_session_id(id_);
  if (step.kept) request.set_max_new_tokens(*step.kept);
  generation = Generate(stub_, request);
  EXPECT_TRUE(generation.status.ok()) << generation.status.error_message();
  EXPECT_TRUE(SameTokens(generation, step.ids, step.logprobs, step.ids.size()))
      << step.turn.request_id();
  Ids& tokens = contents_.back();
  tokens.insert(tokens.end(), request.input_ids().begin(), request.input_ids().end());
  tokens.insert(tokens.end(), generation.ids.begin(), generation.ids.end());
}

}  // namespace kvasir::testing
