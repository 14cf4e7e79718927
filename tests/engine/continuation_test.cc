// Invariant I1: the same tokens and log-probability bits, however the work is cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/engine/engine_harness.h"
#include "tests/engine/random_model.h"

namespace kvasir {
namespace {

using testing::DifferenceOf;
using testing::Outcome;
using testing::RandomModel;
using testing::Recorder;
using testing::SyncEngine;

// Sanitized kernels take up to a hundred times as long, and learn nothing from more of the same.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRounds = 3;
constexpr int kLongSession = 2200;
#else
constexpr int kRounds = 30;
constexpr int kLongSession = 41200;
#endif

// It may be an emulated one.
constexpr int kGpuRounds = 1;
constexpr int kLongGpuSession = 1100;

struct Turn {
  std::vector<int> input;
  int generate = 0;
};

struct Conversation {
  std::vector<Turn> turns;
  SamplingOverrides sampling;
};

Conversation RandomConversation(std::mt19937& random) {
  Conversation conversation;
  const int turns = 1 + static_cast<int>(random() % 4);
  for (int t = 0; t < turns; ++t) {
    Turn turn;
    const int length = 1 + static_cast<int>(random() % (random() % 3 == 0 ? 200 : 30));
    for (int i = 0; i < length; ++i) turn.input.push_back(static_cast<int>(random() % 331));
    turn.generate = 1 + static_cast<int>(random() % 40);
    conversation.turns.push_back(turn);
  }
  conversation.sampling.seed = random();
  conversation.sampling.temperature = random() % 4 == 0 ? 0.0f : 0.9f;
  conversation.sampling.top_k = random() % 2 == 0 ? 40 : 0;
  conversation.sampling.top_p = random() % 2 == 0 ? 0.95f : 1.0f;
  if (random() % 3 == 0) conversation.sampling.repetition_penalty = 1.2f;
  return conversation;
}

GenerateRequest Ask(const std::string& id, std::vector<int> input, uint32_t n,
                    const SamplingOverrides& sampling) {
  return {.session_id = id,
          .input_ids = std::move(input),
          .max_new_tokens = n,
          .sampling = sampling,
          .ignore_eos = true,
          .create_if_missing = true,
          .top_logprobs = 2};
}

// One call a turn, nothing else going on.
std::vector<TokenLogprob> Reference(SyncEngine& engine, const Conversation& conversation,
                                    const std::string& id) {
  std::vector<TokenLogprob> all;
  for (const Turn& turn : conversation.turns) {
    const Outcome outcome =
        engine.Generate(Ask(id, turn.input, turn.generate, conversation.sampling));
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    all.insert(all.end(), outcome.logprobs.begin(), outcome.logprobs.end());
  }
  EXPECT_TRUE(engine.Delete(id).ok());
  return all;
}

// The same conversation, cut at random: pieces of input, pieces of answers, forks that take over,
// answers thrown away and given again, blocks dropped in between.
std::vector<TokenLogprob> Cut(SyncEngine& engine, const Conversation& conversation, std::string id,
                              std::mt19937& random) {
  std::vector<TokenLogprob> all;
  int forks = 0;
  const auto disturb = [&] {
    if (random() % 4 == 0) engine.DropIdleBlocks();
    if (random() % 5 == 0 && engine.Get(id).ok()) {
      const std::string fork = id + "-" + std::to_string(++forks);
      EXPECT_TRUE(engine.Fork(id, fork).ok());
      if (random() % 2 == 0) {
        EXPECT_TRUE(engine.Delete(id).ok());
      } else {
        // The one left behind speaks too: shared blocks must not mind.
        engine.Generate(Ask(id, {1, 2, 3}, 3, conversation.sampling));
      }
      id = fork;
    }
    if (random() % 5 == 0 && engine.Get(id).ok()) {
      const uint64_t length = engine.Get(id)->length;
      engine.Generate(Ask(id, {4, 5}, 5, conversation.sampling));
      EXPECT_TRUE(engine.Truncate(id, length).ok());
    }
  };
  for (const Turn& turn : conversation.turns) {
    std::vector<int> input = turn.input;
    while (input.size() > 1 && random() % 2 == 0) {
      const size_t piece = 1 + random() % (input.size() - 1);
      const Outcome fed = engine.Generate(
          Ask(id, {input.begin(), input.begin() + piece}, 0, conversation.sampling));
      EXPECT_TRUE(fed.status.ok()) << fed.status;
      input.erase(input.begin(), input.begin() + piece);
      disturb();
    }
    int left = turn.generate;
    while (left > 0) {
      const int piece = random() % 2 == 0 ? left : 1 + static_cast<int>(random() % left);
      const Outcome outcome = engine.Generate(Ask(id, input, piece, conversation.sampling));
      EXPECT_TRUE(outcome.status.ok()) << outcome.status;
      all.insert(all.end(), outcome.logprobs.begin(), outcome.logprobs.end());
      input.clear();
      left -= piece;
      disturb();
    }
  }
  return all;
}

struct Setting {
  DTypeChoice dtype;
  const char* kernel;
};

class ContinuationTest : public ::testing::TestWithParam<Setting> {};

TEST_P(ContinuationTest, NothingDependsOnHowTheWorkIsCut) {
  const auto options = [&](int threads, int step_tokens, int kv_tokens, int64_t host_memory) {
    EngineOptions o = RandomModel::Options({.kv_tokens = kv_tokens});
    o.dtype = GetParam().dtype;
    o.cpu_kernel = GetParam().kernel;
    o.threads = threads;
    o.max_step_tokens = step_tokens;
    if (RandomModel::OnGpu()) o.kv_host_memory = host_memory;
    return o;
  };
  EngineOptions alone = options(1, 512, 20000, 0);
  alone.share_prefixes = false;
  SyncEngine plain(alone);
  std::vector<std::unique_ptr<SyncEngine>> engines;
  for (const auto& [threads, step_tokens, kv_tokens] :
       {std::tuple{1, 37, 20000}, std::tuple{2, 512, 1200}, std::tuple{5, 64, 4000}}) {
    // The pool that is too small has the host's memory beside it.
    const int64_t host_memory = kv_tokens < 2000 ? RandomModel::KvBytes({}, 2000) : 0;
    engines.push_back(
        std::make_unique<SyncEngine>(options(threads, step_tokens, kv_tokens, host_memory)));
  }
  std::mt19937 random(2024);
  const int rounds = RandomModel::OnGpu() ? kGpuRounds : kRounds;
  for (int round = 0; round < rounds; ++round) {
    const Conversation conversation = RandomConversation(random);
    const std::vector<TokenLogprob> expected = Reference(plain, conversation, "reference");
    for (size_t e = 0; e < engines.size(); ++e) {
      SCOPED_TRACE(std::to_string(round) + " on engine " + std::to_string(e));
      SyncEngine& engine = *engines[e];
      // Company in the batch.
      std::vector<std::shared_ptr<Recorder>> others;
      for (int i = 0; i < 3; ++i) {
        const Conversation other = RandomConversation(random);
        others.push_back(engine.Start(Ask("", other.turns[0].input, 60, other.sampling)));
      }
      const std::string id = "cut-" + std::to_string(round);
      EXPECT_EQ(DifferenceOf(expected, Cut(engine, conversation, id, random)), "");
      for (const auto& other : others) EXPECT_TRUE(other->Wait().status.ok());
    }
  }
  for (auto& engine : engines) {
    const auto page = engine->List({.page_size = 1000});
    for (const SessionInfo& session : page->sessions) {
      EXPECT_TRUE(engine->Delete(session.session_id).ok());
    }
    EXPECT_EQ(engine->Stats().kv_blocks_used, 0);
  }
}

// Both dtypes, on every kernel set that this CPU has; or the GPU.
std::vector<Setting> Settings() {
  if (RandomModel::OnGpu()) return {{DTypeChoice::kBf16, "auto"}};
  std::vector<Setting> settings = {{DTypeChoice::kF32, "auto"}};
  for (const char* kernel : {"auto", "amx", "avx512bf16", "avx512", "avx2"}) {
    if (RandomModel::HasKernel(kernel)) settings.push_back({DTypeChoice::kBf16, kernel});
  }
  return settings;
}

INSTANTIATE_TEST_SUITE_P(Kernels, ContinuationTest, ::testing::ValuesIn(Settings()),
                         [](const auto& info) {
                           const bool f32 = info.param.dtype == DTypeChoice::kF32;
                           return std::string(f32 ? "f32_" : "bf16_") + info.param.kernel;
                         });

// Conversations that begin alike compute their beginning once, within a tenant, and say the same.
TEST(SharedPrefixes, ChangeNothingButTheWork) {
  EngineOptions options = RandomModel::Options({.kv_tokens = 4000});
  SyncEngine sharing(options);
  options.share_prefixes = false;
  SyncEngine plain(options);
  std::mt19937 random(5);
  std::vector<int> system(100);
  for (int& id : system) id = static_cast<int>(random() % 331);
  for (int i = 0; i < 6; ++i) {
    std::vector<int> input = system;
    for (int j = 0; j < 10 + i; ++j) input.push_back(static_cast<int>(random() % 331));
    GenerateRequest request = Ask("", input, 40, {.temperature = 0.9f, .seed = uint64_t(i)});
    request.tenant = i % 2 == 0 ? "even" : "odd";
    const Outcome shared = sharing.Generate(request);
    const Outcome alone = plain.Generate(request);
    ASSERT_TRUE(shared.status.ok() && alone.status.ok());
    EXPECT_EQ(DifferenceOf(alone.logprobs, shared.logprobs), "");
    EXPECT_EQ(alone.started.cached_tokens, 0);
    EXPECT_EQ(shared.started.cached_tokens, i < 2 ? 0 : 96) << "the first of each tenant pays";
  }
  EXPECT_EQ(sharing.Stats().kv_blocks_used, 0);

  // Log-probabilities of the input are computed from the input, whatever is cached.
  GenerateRequest request = Ask("", system, 1, {});
  request.prompt_logprobs = true;
  request.tenant = "even";
  const Outcome shared = sharing.Generate(request);
  EXPECT_EQ(shared.started.cached_tokens, 0);
  EXPECT_EQ(DifferenceOf(plain.Generate(request).prompt_logprobs, shared.prompt_logprobs), "");
}

TEST(SharedPrefixes, AnotherTenantsSessionIsNotThere) {
  SyncEngine engine(RandomModel::Options());
  GenerateRequest request = Ask("mine", {1, 2, 3}, 2, {});
  request.tenant = "a";
  ASSERT_TRUE(engine.Generate(request).status.ok());
  request.tenant = "b";
  request.create_if_missing = false;
  EXPECT_TRUE(absl::IsNotFound(engine.Generate(request).status));
  // Nor does its name tell by being taken.
  request.create_if_missing = true;
  const Outcome created = engine.Generate(request);
  EXPECT_TRUE(created.status.ok()) << created.status;
  EXPECT_EQ(created.started.session_length, 0);
  EXPECT_EQ(created.started.session_id, "mine");
}

// Running calls that outgrow the pool take turns, and nobody's tokens change.
TEST(Pressure, PausedCallsComeBackExactly) {
  std::mt19937 random(7);
  EngineOptions alone = RandomModel::Options({.kv_tokens = 20000});
  alone.share_prefixes = false;
  SyncEngine plain(alone);
  SyncEngine tight(RandomModel::Options({.kv_tokens = 320}));
  std::vector<Conversation> conversations;
  std::vector<std::shared_ptr<Recorder>> running;
  for (int i = 0; i < 6; ++i) {
    Conversation c = RandomConversation(random);
    c.turns.resize(1);
    c.turns[0].input.resize(60, 9);
    c.turns[0].generate = 120;
    running.push_back(tight.Start(Ask("s" + std::to_string(i), c.turns[0].input, 120, c.sampling)));
    conversations.push_back(c);
  }
  for (int i = 0; i < 6; ++i) {
    const Outcome& outcome = running[i]->Wait();
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(DifferenceOf(Reference(plain, conversations[i], "r"), outcome.logprobs), "");
  }
  EXPECT_GT(tight.Stats().paused_calls, 0) << "the test did not test";
}

// 41,000 tokens and more, on a model whose positions reach 262,144.
TEST(LongSession, StaysExact) {
  RandomModel::Shape shape;
  shape.layers = 2;
  shape.heads = 2;
  shape.kv_heads = 1;
  shape.kv_tokens = 90000;
  shape.max_positions = 262144;
  EngineOptions options = RandomModel::Options(shape);
  SyncEngine engine(options);
  std::mt19937 random(3);
  std::vector<int> ids(RandomModel::OnGpu() ? kLongGpuSession : kLongSession);
  for (int& id : ids) id = static_cast<int>(random() % 331);
  const SamplingOverrides sampling = {.seed = 11};
  const Outcome fed = engine.Generate(Ask("long", ids, 0, sampling));
  ASSERT_TRUE(fed.status.ok()) << fed.status;
  ASSERT_TRUE(engine.Fork("long", "parts").ok());
  const Outcome whole = engine.Generate(Ask("long", {}, 24, sampling));
  std::vector<TokenLogprob> parts = engine.Generate(Ask("parts", {}, 9, sampling)).logprobs;
  engine.DropIdleBlocks();
  const Outcome rest = engine.Generate(Ask("parts", {}, 15, sampling));
  EXPECT_EQ(rest.started.cached_tokens, 0);
  parts.insert(parts.end(), rest.logprobs.begin(), rest.logprobs.end());
  EXPECT_EQ(DifferenceOf(whole.logprobs, parts), "");
}

}  // namespace
}  // namespace kvasir
