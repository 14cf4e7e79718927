// What Generate means, through real gRPC with the embedded model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/services/model_server.h"

namespace kvasir {
namespace {

using kvasir::testing::AskFor;
using kvasir::testing::CreateWith;
using kvasir::testing::Delete;
using kvasir::testing::Fork;
using kvasir::testing::Generate;
using kvasir::testing::Generation;
using kvasir::testing::Get;
using kvasir::testing::Ids;
using kvasir::testing::ModelServer;
using kvasir::testing::ReadAll;
using kvasir::testing::SomeIds;
using kvasir::testing::TinyOptions;
using kvasir::testing::TinyVariant;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Ids Joined(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class GenerateRpcTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new ModelServer; }
  static void TearDownTestSuite() {
    EXPECT_EQ(server_->SettledStats().sessions, 0);
    EXPECT_EQ(server_->SettledStats().kv_blocks_used, 0);
    delete server_;
    server_ = nullptr;
  }
  // Every test uses and leaves one session, of its own name, beside its forks.
  void SetUp() override {
    id_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    CreateWith(stub(), id_, prompt_);
  }
  void TearDown() override {
    Delete(stub(), id_);
    Delete(stub(), id_ + ".fork");
  }

  Generation Run(const v1::GenerateRequest& request) {
    Generation generation = Generate(stub(), request);
    EXPECT_TRUE(generation.status.ok()) << generation.status.error_message();
    return generation;
  }
  std::string ForkIt() {
    v1::ForkSessionRequest request;
    request.set_session_id(id_);
    request.set_new_session_id(id_ + ".fork");
    EXPECT_TRUE(Fork(stub(), request).ok());
    return request.new_session_id();
  }
  v1::Session Session() {
    v1::Session session;
    EXPECT_TRUE(Get(stub(), id_, session).ok());
    return session;
  }
  static v1::ModelService::Stub& stub() { return server_->stub(); }

  static ModelServer* server_;
  const Ids prompt_ = SomeIds(20, 1);
  std::string id_;
};

ModelServer* GenerateRpcTest::server_ = nullptr;

TEST_F(GenerateRpcTest, OnlyNewTokensComeBack) {
  const Ids input = SomeIds(3, 2);
  const Generation generation = Run(AskFor(id_, input, 5));
  EXPECT_THAT(generation.ids, SizeIs(5));
  EXPECT_THAT(ReadAll(stub(), id_),
              ElementsAreArray(Joined(Joined(prompt_, input), generation.ids)));
  EXPECT_THAT(generation.logprobs, IsEmpty());
  EXPECT_THAT(generation.prompt_logprobs, IsEmpty());

  EXPECT_EQ(generation.started->session_id(), id_);
  EXPECT_EQ(generation.started->session_length(), 20);
  EXPECT_EQ(generation.complete->session_length(), 28);
  EXPECT_EQ(generation.complete->finish_reason(), v1::FINISH_REASON_MAX_NEW_TOKENS);
  const v1::Usage& usage = generation.complete->usage();
  EXPECT_EQ(usage.input_tokens(), 3);
  EXPECT_EQ(usage.generated_tokens(), 5);
  EXPECT_EQ(usage.cached_tokens(), generation.started->cached_tokens());
  // Every token before the last is computed once, or was cached.
  EXPECT_EQ(usage.cached_tokens() + usage.computed_tokens(), 27);
  EXPECT_TRUE(generation.complete->timing().has_queued());
  EXPECT_TRUE(generation.complete->timing().has_prefill());
  EXPECT_TRUE(generation.complete->timing().has_decode());
}

TEST_F(GenerateRpcTest, EmptyInputContinuesAndEqualsOneCall) {
  const std::string fork = ForkIt();
  const Ids first = Run(AskFor(id_, {}, 20)).ids;
  const Generation second = Run(AskFor(id_, {}, 20));
  EXPECT_EQ(second.started->session_length(), 40);
  EXPECT_EQ(second.started->cached_tokens(), 39);  // all but the token sampled last
  EXPECT_EQ(Joined(first, second.ids), Run(AskFor(fork, {}, 40)).ids);
}

TEST_F(GenerateRpcTest, ZeroNewTokensOnlyProcessesTheInput) {
  const Ids input = SomeIds(10, 2);
  const Generation generation = Run(AskFor(id_, input, 0));
  EXPECT_THAT(generation.ids, IsEmpty());
  EXPECT_EQ(generation.complete->finish_reason(), v1::FINISH_REASON_MAX_NEW_TOKENS);
  EXPECT_EQ(generation.complete->session_length(), 30);
  EXPECT_EQ(ReadAll(stub(), id_), Joined(prompt_, input));
  EXPECT_EQ(Session().cached_tokens(), 30);
}

TEST_F(GenerateRpcTest, StopTokensBelongToTheStreamAndTheSession) {
  const std::string fork = ForkIt();
  const Ids free = Run(AskFor(fork, {}, 12)).ids;
  // The first token that the run has not had before: it stops there, and not earlier.
  size_t at = free.size() - 1;
  while (at > 0 && std::find(free.begin(), free.begin() + at, free[at]) != free.begin() + at) --at;
  v1::GenerateRequest request = AskFor(id_, {}, 12);
  request.add_stop_token_ids(free[at]);
  const Generation stopped = Run(request);
  EXPECT_EQ(stopped.ids, Ids(free.begin(), free.begin() + at + 1));
  EXPECT_EQ(stopped.complete->finish_reason(), v1::FINISH_REASON_STOP_TOKEN);
  EXPECT_EQ(ReadAll(stub(), id_), Joined(prompt_, stopped.ids));
  EXPECT_EQ(Session().last_finish_reason(), v1::FINISH_REASON_STOP_TOKEN);
}

TEST_F(GenerateRpcTest, EosStopsUnlessIgnored) {
  const uint32_t eos = server_->engine().model_info().eos_token_ids.front();
  v1::GenerateRequest request = AskFor(id_, {}, 4);
  (*request.mutable_sampling()->mutable_logit_bias())[eos] = 100;  // nothing else can come
  const std::string fork = ForkIt();
  EXPECT_THAT(Run(request).ids, SizeIs(4));
  request.set_session_id(fork);
  request.set_ignore_eos(false);
  const Generation stopped = Run(request);
  EXPECT_THAT(stopped.ids, ElementsAreArray({eos}));
  EXPECT_EQ(stopped.complete->finish_reason(), v1::FINISH_REASON_STOP_TOKEN);
}

TEST_F(GenerateRpcTest, OneShotKeepsNothing) {
  v1::GenerateRequest request = AskFor("", prompt_, 8);
  request.mutable_sampling()->set_seed(11);
  const Generation once = Run(request);
  EXPECT_EQ(once.started->session_id(), "");
  EXPECT_EQ(once.started->seed(), 11);
  EXPECT_EQ(server_->SettledStats().sessions, 1);  // this test's own
  EXPECT_EQ(Run(request).ids, once.ids);
}

TEST_F(GenerateRpcTest, DrawnSeedIsToldAndKept) {
  const uint64_t seed = Session().sampling().seed();
  EXPECT_EQ(Run(AskFor(id_, {}, 1)).started->seed(), seed);
  v1::GenerateRequest request = AskFor(id_, {}, 1);
  request.mutable_sampling()->set_seed(seed + 1);
  EXPECT_EQ(Run(request).started->seed(), seed + 1);
  EXPECT_EQ(Session().sampling().seed(), seed);
  // One-shot calls draw their own.
  EXPECT_NE(Run(AskFor("", prompt_, 1)).started->seed(),
            Run(AskFor("", prompt_, 1)).started->seed());
}

TEST_F(GenerateRpcTest, CreateIfMissing) {
  v1::GenerateRequest request = AskFor(id_ + ".fork", prompt_, 3);
  EXPECT_EQ(Generate(stub(), request).status.error_code(), grpc::NOT_FOUND);
  request.set_create_if_missing(true);
  request.set_expected_length(0);
  const Generation generation = Run(request);
  EXPECT_EQ(generation.started->session_length(), 0);
  EXPECT_EQ(ReadAll(stub(), id_ + ".fork"), Joined(prompt_, generation.ids));
}

TEST_F(GenerateRpcTest, ExpectedLengthMakesARetryCompareAndAppend) {
  v1::GenerateRequest request = AskFor(id_, SomeIds(2, 2), 3);
  request.set_expected_length(20);
  request.set_request_id("turn-1");
  Run(request);
  EXPECT_EQ(Generate(stub(), request).status.error_code(), grpc::ABORTED);
  const v1::Session session = Session();
  EXPECT_EQ(session.length(), 25);
  EXPECT_EQ(session.last_request_id(), "turn-1");
  EXPECT_EQ(session.last_base_length(), 20);
  EXPECT_EQ(session.last_finish_reason(), v1::FINISH_REASON_MAX_NEW_TOKENS);
}

TEST_F(GenerateRpcTest, TopLogprobs) {
  v1::GenerateRequest request = AskFor(id_, {}, 4);
  request.set_top_logprobs(3);
  const Generation generation = Run(request);
  ASSERT_THAT(generation.logprobs, SizeIs(4));
  for (size_t i = 0; i < 4; ++i) {
    const v1::TokenLogprob& logprob = generation.logprobs[i];
    EXPECT_EQ(logprob.id(), generation.ids[i]);
    EXPECT_LE(logprob.logprob(), 0);
    ASSERT_EQ(logprob.alternatives_size(), 3);
    EXPECT_GE(logprob.alternatives(0).logprob(), logprob.alternatives(1).logprob());
    EXPECT_GE(logprob.alternatives(1).logprob(), logprob.alternatives(2).logprob());
    EXPECT_GE(logprob.alternatives(0).logprob(), logprob.logprob());
  }
  request.set_top_logprobs(0);
  const Generation bare = Run(request);
  ASSERT_THAT(bare.logprobs, SizeIs(4));
  EXPECT_EQ(bare.logprobs[0].alternatives_size(), 0);
}

TEST_F(GenerateRpcTest, PromptLogprobs) {
  // Long enough for several steps and chunks.
  const Ids input = SomeIds(700, 3);
  v1::GenerateRequest request = AskFor(id_, input, 2);
  request.set_prompt_logprobs(true);
  const Generation warm = Run(request);
  ASSERT_THAT(warm.prompt_logprobs, SizeIs(input.size()));
  for (size_t i = 0; i < input.size(); ++i) {
    EXPECT_EQ(warm.prompt_logprobs[i].id(), input[i]);
    EXPECT_LT(warm.prompt_logprobs[i].logprob(), 0);
    EXPECT_EQ(warm.prompt_logprobs[i].alternatives_size(), 0);
  }
  // The same tokens as one fresh input: the very first has no past, the rest is as before.
  request = AskFor("", Joined(prompt_, input), 2);
  request.set_prompt_logprobs(true);
  const Generation fresh = Run(request);
  ASSERT_THAT(fresh.prompt_logprobs, SizeIs(prompt_.size() + input.size()));
  EXPECT_EQ(fresh.prompt_logprobs[0].id(), prompt_[0]);
  EXPECT_EQ(fresh.prompt_logprobs[0].logprob(), 0);
  for (size_t i = 0; i < input.size(); ++i) {
    EXPECT_EQ(fresh.prompt_logprobs[prompt_.size() + i].logprob(),
              warm.prompt_logprobs[i].logprob());
  }
}

TEST_F(GenerateRpcTest, SessionsSettingsAreTheCallsDefaults) {
  v1::CreateSessionRequest create;
  create.set_session_id(id_ + ".fork");
  create.mutable_initial_ids()->Add(prompt_.begin(), prompt_.end());
  create.mutable_sampling()->set_temperature(0);
  ASSERT_TRUE(kvasir::testing::Create(stub(), create).ok());
  v1::GenerateRequest greedy = AskFor(id_, {}, 10);
  greedy.mutable_sampling()->set_temperature(0);
  EXPECT_EQ(Run(AskFor(id_ + ".fork", {}, 10)).ids, Run(greedy).ids);
}

TEST(GenerateRpc, EndOfTheContext) {
  const TinyVariant variant("max_position_embeddings", 64);
  EngineOptions options = TinyOptions();
  options.model_dir = variant.path();
  ModelServer server(options);
  for (const bool count_given : {false, true}) {
    v1::GenerateRequest request = AskFor("", SomeIds(60, 1), 5);
    if (!count_given) request.clear_max_new_tokens();
    const Generation generation = Generate(server.stub(), request);
    ASSERT_TRUE(generation.status.ok()) << generation.status.error_message();
    EXPECT_THAT(generation.ids, SizeIs(4));
    EXPECT_EQ(generation.complete->finish_reason(), v1::FINISH_REASON_MAX_CONTEXT);
    EXPECT_EQ(generation.complete->session_length(), 64);
  }
}

TEST(GenerateRpc, OfTwoTracesNoneIsBelieved) {
  constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
  const std::string parent = absl::StrCat("00-", kTrace, "-00f067aa0ba902b7-01");
  ModelServer server;
  for (const int parents : {1, 2}) {
    grpc::ClientContext context;
    for (int i = 0; i < parents; ++i) context.AddMetadata("traceparent", parent);
    v1::GetModelInfoResponse info;
    ASSERT_TRUE(server.stub().GetModelInfo(&context, {}, &info).ok());
    const auto& metadata = context.GetServerTrailingMetadata();
    const auto returned = metadata.find("traceparent");
    ASSERT_NE(returned, metadata.end());
    const std::string trace(returned->second.data() + 3, 32);
    EXPECT_EQ(trace == kTrace, parents == 1) << trace;
  }
}

TEST(GenerateRpc, ModelInfo) {
  ModelServer server;
  grpc::ClientContext context;
  v1::GetModelInfoResponse info;
  ASSERT_TRUE(server.stub().GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.model_name(), "tiny");
  EXPECT_THAT(info.fingerprint(), SizeIs(32));
  EXPECT_EQ(info.vocab_size(), 1536);
  EXPECT_EQ(info.max_context(), 262144);
  EXPECT_THAT(info.eos_token_ids(), ElementsAreArray({1535, 1533}));
  EXPECT_EQ(info.default_sampling().top_k(), 20);
  EXPECT_FALSE(info.default_sampling().has_min_p());
  EXPECT_FALSE(info.default_sampling().has_seed());
  EXPECT_EQ(info.device(), "cpu");
  EXPECT_EQ(info.dtype(), "bf16");
  EXPECT_FALSE(info.numerics().empty());
  // Two bytes each for K and V, in 4 layers of 2 heads of 64.
  EXPECT_EQ(info.kv_tokens(), (64 << 20) / (2 * 2 * 4 * 2 * 64));
  EXPECT_EQ(info.version(), KVASIR_VERSION);
}

}  // namespace
}  // namespace kvasir
