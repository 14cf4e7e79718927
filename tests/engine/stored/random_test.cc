// Invariants I1 and I2 where sessions are stored and memory is short: random operations, with
// restarts in between, against plain lists of tokens and an engine that computes every turn anew.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/engine/stored/stored_engine.h"

namespace kvasir {
namespace {

using testing::DifferenceOf;
using testing::FreshAnswer;
using testing::Joined;
using testing::Outcome;
using testing::RandomModel;
using testing::ReasonOf;
using testing::Recorder;
using testing::StoredEngine;
using testing::SyncEngine;

constexpr int kSessions = 50;
constexpr int kTogether = 4;          // turns at once
constexpr size_t kLongest = 300;      // tokens of a session that speaks
constexpr int64_t kPoolTokens = 432;  // less than a tenth of what lives
constexpr int kOperationsOfALife = 400;

RandomModel::Shape ShapeWith(int64_t kv_tokens) {
  return {.layers = 2, .heads = 2, .kv_heads = 1, .max_positions = 512, .kv_tokens = kv_tokens};
}

EngineOptions With(int64_t kv_tokens) {
  EngineOptions options = RandomModel::Options(ShapeWith(kv_tokens));
  options.threads = 1;
  options.max_step_tokens = 48;  // an input takes some steps
  options.session_store.reset();
  return options;
}

class RandomOperations : public ::testing::Test {
 protected:
  // What a session has to be.
  struct Expected {
    std::vector<int> tokens;
    uint64_t seed = 0;
  };
  struct Speaker {
    std::string id;
    std::vector<int> input;
    uint32_t new_tokens = 0;
    bool cancelled = false;
    std::shared_ptr<Recorder> recorder;
  };

  RandomOperations() : engine_(With(kPoolTokens)), oracle_(With(16384)) {}

  int Below(int bound) { return static_cast<int>(random_() % bound); }
  std::vector<int> Ids(int count) {
    std::vector<int> ids(count);
    for (int& id : ids) id = Below(RandomModel::kVocab);
    return ids;
  }
  size_t LengthOf(const std::string& id) const {
    const auto found = expected_.find(id);
    return found != expected_.end() ? found->second.tokens.size() : 0;
  }
  // Ids of sessions that no turn of this round concerns.
  std::string NextId() { return order_[next_++]; }

  void Round() {
    std::shuffle(order_.begin(), order_.end(), random_);
    next_ = 0;
    std::vector<Speaker> speakers;
    const bool begin_together = Below(2) == 0;
    for (int i = Below(kTogether + 1); i > 0; --i) Start(speakers, !begin_together);
    for (Speaker& speaker : speakers) {
      speaker.recorder->room = true;
      engine_->Resume(speaker.recorder);
    }
    Other();
    Check(speakers);
  }

  // Turns that begin together and outgrow the pool: some have to wait for others.
  void Crowd() {
    std::vector<Speaker> speakers(kTogether);
    for (Speaker& speaker : speakers) {
      speaker.id = order_[&speaker - speakers.data()];
      Truncate(speaker.id, 0);
      speaker.input = Ids(kPoolTokens / kTogether - 20);
      speaker.new_tokens = 60;
      Start(speaker, true);
    }
    Check(speakers);
  }

  void Check(const std::vector<Speaker>& speakers) {
    for (const Speaker& speaker : speakers) {
      SCOPED_TRACE(speaker.id);
      Check(speaker);
      ++operations_;
    }
  }

  void Start(std::vector<Speaker>& speakers, bool at_once) {
    Speaker& speaker = speakers.emplace_back();
    speaker.id = NextId();
    const size_t length = LengthOf(speaker.id);
    if (length > kLongest) {
      Truncate(speaker.id);
      speakers.pop_back();
      return;
    }
    speaker.input = Ids(Below(6) == 0 ? 60 : Below(8));
    if (length == 0 && speaker.input.empty()) speaker.input = Ids(1);
    speaker.new_tokens = Below(12);
    speaker.cancelled = Below(6) == 0;
    Start(speaker, at_once);
    if (!speaker.cancelled) return;
    absl::SleepFor(absl::Microseconds(Below(1000)));
    engine_->Cancel(speaker.recorder);
  }

  void Start(Speaker& speaker, bool at_once) {
    GenerateRequest request = testing::FirstTurn(speaker.id, speaker.input, speaker.new_tokens);
    if (Below(2) == 0) request.expected_length = LengthOf(speaker.id);
    speaker.recorder = std::make_shared<Recorder>();
    speaker.recorder->room = at_once;
    engine_->Start(std::move(request), speaker.recorder);
  }

  void Check(const Speaker& speaker) {
    const Outcome& outcome = speaker.recorder->Wait();
    const auto found = expected_.find(speaker.id);
    std::vector<int> before;
    uint64_t seed = outcome.started.seed;
    if (found != expected_.end()) {
      before = found->second.tokens;
      seed = found->second.seed;
    }
    const auto content = engine_->Read(speaker.id);
    if (!outcome.status.ok()) {
      ASSERT_TRUE(speaker.cancelled && absl::IsCancelled(outcome.status)) << outcome.status;
      if (!content.ok()) {  // it would have been created
        ASSERT_EQ(ReasonOf(content.status()), "SESSION_NOT_FOUND");
        ASSERT_TRUE(found == expected_.end() && outcome.ids.empty());
        ++rolled_back_;
        return;
      }
      if (*content == before) {
        ASSERT_TRUE(outcome.ids.empty());
        ++rolled_back_;
        return;
      }
      seed = engine_->Get(speaker.id)->sampling.seed.value();
    }
    ASSERT_TRUE(content.ok()) << content.status();
    const Outcome fresh = FreshAnswer(oracle_, before, speaker.input, speaker.new_tokens, seed);
    const std::vector<int> start = Joined(before, speaker.input);
    if (outcome.status.ok()) {
      ASSERT_EQ(DifferenceOf(outcome.logprobs, fresh.logprobs), "");
      ASSERT_EQ(outcome.started.seed, seed);
      ASSERT_EQ(*content, Joined(start, fresh.ids));
    } else {
      const std::vector<int> whole = Joined(start, fresh.ids);
      ASSERT_GE(content->size(), start.size() + outcome.ids.size());
      ASSERT_EQ(*content, std::vector(whole.begin(), whole.begin() + content->size()));
      auto told = fresh.logprobs;
      told.resize(outcome.logprobs.size());
      ASSERT_EQ(DifferenceOf(outcome.logprobs, told), "");
      ++cut_;
    }
    expected_[speaker.id] = {*content, seed};
  }

  // Something that is no turn, with a session that does not speak in this round.
  void Other() {
    const std::string id = NextId();
    ++operations_;
    SCOPED_TRACE(id);
    switch (Below(8)) {
      case 0:
        Create(id, Below(30));
        return;
      case 1:
      case 2:
        Fork(id, NextId());
        return;
      case 3:
      case 4:
        Truncate(id);
        return;
      case 5:
        ExpectSame(engine_->Delete(id), expected_.erase(id) > 0);
        return;
      case 6:
        engine_->DropIdleBlocks();
        return;
      default:
        ExpectIsStored(id);
    }
  }
  static void ExpectSame(const absl::Status& status, bool exists) {
    ASSERT_EQ(ReasonOf(status), exists ? "" : "SESSION_NOT_FOUND") << status;
  }
  void Create(const std::string& id, int length) {
    const Expected fresh = {Ids(length), random_()};
    const auto created = engine_->Create(
        {.session_id = id, .initial_ids = fresh.tokens, .sampling = {.seed = fresh.seed}});
    const bool is_new = expected_.emplace(id, fresh).second;
    ASSERT_EQ(ReasonOf(created.status()), is_new ? "" : "SESSION_EXISTS") << created.status();
  }
  void Fork(const std::string& id, const std::string& fork) {
    const auto source = expected_.find(id);
    const bool exists = source != expected_.end();
    const size_t length = exists ? Below(static_cast<int>(source->second.tokens.size()) + 1) : 0;
    const auto made = engine_->Fork(id, fork, length);
    if (!exists || expected_.count(fork) > 0) {
      ASSERT_EQ(ReasonOf(made.status()), exists ? "SESSION_EXISTS" : "SESSION_NOT_FOUND");
      return;
    }
    ASSERT_TRUE(made.ok()) << made.status();
    Expected kept = source->second;
    kept.tokens.resize(length);
    expected_[fork] = std::move(kept);
  }
  void Truncate(const std::string& id) { Truncate(id, Below(static_cast<int>(LengthOf(id)) + 1)); }
  void Truncate(const std::string& id, size_t kept) {
    const auto found = expected_.find(id);
    const bool exists = found != expected_.end();
    ExpectSame(engine_->Truncate(id, kept, LengthOf(id)).status(), exists);
    if (exists) found->second.tokens.resize(kept);
  }
  void ExpectIsStored(const std::string& id) {
    const auto content = engine_->Read(id);
    const auto found = expected_.find(id);
    ExpectSame(content.status(), found != expected_.end());
    if (!content.ok()) return;
    ASSERT_EQ(*content, found->second.tokens);
    ASSERT_EQ(engine_->Get(id)->sampling.seed, found->second.seed);
  }

  // Another process on the same file, which may promise something else.
  void Restart() {
    engine_.options().durability =
        std::array{Durability::kTurn, Durability::kToken, Durability::kNone}[Below(3)];
    ++lives_;
    for (const auto& [id, expected] : expected_) live_tokens_ += expected.tokens.size();
    paused_ += engine_->Stats().paused_calls;
    evicted_ += engine_->Stats().evicted_blocks;
    engine_.Restart();
    const auto page = engine_->List({.page_size = 1000});
    ASSERT_TRUE(page.ok());
    ASSERT_EQ(page->sessions.size(), expected_.size());
    for (const auto& [id, expected] : expected_) ExpectIsStored(id);
  }

  StoredEngine engine_;
  SyncEngine oracle_;
  std::mt19937_64 random_{20};
  std::vector<std::string> order_;
  size_t next_ = 0;
  std::map<std::string, Expected> expected_;
  int operations_ = 0, rolled_back_ = 0, cut_ = 0, lives_ = 0;
  size_t live_tokens_ = 0;  // at the ends of all lives together
  uint64_t paused_ = 0, evicted_ = 0;
};

TEST_F(RandomOperations, AgreeWithPlainListsOfTokens) {
  for (int i = 0; i < kSessions; ++i) {
    order_.push_back(absl::StrCat("s", i));
    Create(order_.back(), 110);  // memory is short from the start
  }
  for (int life_end = kOperationsOfALife; operations_ < KVASIR_OPERATIONS;) {
    Round();
    ASSERT_FALSE(HasFailure()) << "operation " << operations_;
    if (operations_ < life_end) continue;
    Crowd();
    ASSERT_FALSE(HasFailure()) << "crowd at " << operations_;
    Restart();
    ASSERT_FALSE(HasFailure()) << "restart at " << operations_;
    life_end += kOperationsOfALife;
  }
  Restart();
  const size_t live_tokens = live_tokens_ / lives_;
  RecordProperty("live_tokens", static_cast<int>(live_tokens));
  RecordProperty("cut", cut_);
  RecordProperty("rolled_back", rolled_back_);
  // Each kind of trouble was there, or this shows little.
  EXPECT_GT(live_tokens, 10 * kPoolTokens);
  EXPECT_GT(cut_, 0);
  EXPECT_GT(rolled_back_, 0);
  EXPECT_GT(evicted_, 0);
  EXPECT_GT(paused_, 0);
  for (const auto& [id, expected] : expected_) ASSERT_TRUE(engine_->Delete(id).ok());
  EXPECT_EQ(engine_->Stats().kv_blocks_used, 0);
}

}  // namespace
}  // namespace kvasir
