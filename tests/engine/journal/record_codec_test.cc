#include "engine/journal/record_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/error.h"
#include "tests/engine/journal/random_sessions.h"

namespace kvasir {
namespace {

using testing::Difference;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RandomRecord;
using testing::RandomTokens;

void ExpectDamage(const absl::Status& status, const std::string& id, const std::string& field) {
  ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  const ErrorDetail detail = DetailOf(status);
  EXPECT_EQ(detail.reason, "SESSION_DAMAGED");
  EXPECT_EQ(detail.metadata.at("session_id"), id);
  EXPECT_EQ(detail.metadata.at("field"), field);
}

TEST(RecordTest, EveryFieldComesBack) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    const SessionRecord record = RandomRecord("some-id", random);
    const auto last_run = static_cast<uint32_t>(random());
    const auto decoded = DecodeRecord("some-id", EncodeRecord(record, last_run));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(Difference(decoded->record, record), "");
    EXPECT_EQ(decoded->last_run, last_run);
  }
}

TEST(RecordTest, TimesBeforeTheEpochComeBack) {
  SessionRecord record;
  record.metadata.create_time = absl::UnixEpoch() - absl::Nanoseconds(1);
  record.metadata.last_use_time = absl::UnixEpoch() - absl::Seconds(5);
  record.metadata.ttl = absl::Seconds(315'576'000'000);  // the longest of Protobuf
  const auto decoded = DecodeRecord("", EncodeRecord(record, 0));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(Difference(decoded->record, record), "");
}

TEST(RecordTest, EveryFlippedBitIsFound) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 5; ++i) {
    const std::string good = EncodeRecord(RandomRecord("a", random), 7);
    for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
      ExpectDamage(DecodeRecord("a", bad).status(), "a", "metadata");
      EXPECT_EQ(IdInRecord(bad), "");
    }
  }
}

TEST(RecordTest, EveryTruncationIsFound) {
  std::mt19937_64 random(3);
  const std::string good = EncodeRecord(RandomRecord("a", random), 7);
  for (size_t size = 0; size < good.size(); ++size) {
    ExpectDamage(DecodeRecord("a", good.substr(0, size)).status(), "a", "metadata");
  }
  ExpectDamage(DecodeRecord("a", good + '\0').status(), "a", "metadata");
}

TEST(RecordTest, UnderAnotherKeyItIsDamage) {
  std::mt19937_64 random(4);
  const std::string bytes = EncodeRecord(RandomRecord("mine", random), 0);
  const absl::Status status = DecodeRecord("yours", bytes).status();
  ExpectDamage(status, "yours", "metadata");
  // Which one may be another tenant's business.
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("mine")));
  EXPECT_EQ(IdInRecord(bytes), "mine");
}

TEST(RunTest, TokensComeBackInFewBytes) {
  std::mt19937_64 random(5);
  for (size_t count : {0, 1, 100, 4096}) {
    const std::vector<int> tokens = RandomTokens(count, random);
    const std::string bytes = EncodeRun("a", 300, 99, tokens);
    EXPECT_LE(bytes.size(), 3 * count + 16);
    const auto run = DecodeRun("a", "tokens from 300", bytes);
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(run->start, 300);
    EXPECT_EQ(run->previous, 99);
    EXPECT_EQ(run->tokens, tokens);
  }
}

TEST(RunTest, EveryFlippedBitAndTruncationIsFound) {
  std::mt19937_64 random(6);
  const std::string good = EncodeRun("a", 300, 99, RandomTokens(300, random));
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    ExpectDamage(DecodeRun("a", "tokens from 300", bad).status(), "a", "tokens from 300");
  }
  for (size_t size = 0; size < good.size(); ++size) {
    ExpectDamage(DecodeRun("a", "x", good.substr(0, size)).status(), "a", "x");
  }
}

TEST(RunTest, OfAnotherSessionItIsDamage) {
  ExpectDamage(DecodeRun("b", "x", EncodeRun("a", 0, 0, std::vector<int>{1, 2})).status(), "b",
               "x");
}

// A session's runs as a store keeps them.
class Runs {
 public:
  // Returns how many bytes of runs were written.
  size_t Write(uint64_t keep, std::vector<int> append) {
    SessionWrite write;
    write.record.metadata.id = "a";
    write.keep = keep;
    write.append = append;
    tokens_.resize(keep);
    tokens_.insert(tokens_.end(), append.begin(), append.end());
    record_.record.metadata.id = "a";
    record_.record.length = tokens_.size();

    std::optional<TokenRun> last;
    if (auto run = runs_.lower_bound(keep); keep > 0) {
      last = DecodeRun("a", "last", std::prev(run)->second).value();
    }
    const RunsChange change = ChangeRuns(write, last ? &*last : nullptr).value();
    runs_.erase(runs_.lower_bound(change.from), runs_.end());
    size_t bytes = 0;
    for (const auto& run : change.runs) {
      runs_[run.start] = run.bytes;
      bytes += run.bytes.size();
    }
    record_.last_run = change.last_run;
    return bytes;
  }

  absl::StatusOr<std::vector<int>> Read() const {
    TokensReader reader(record_);
    for (const auto& [start, bytes] : runs_) {
      if (const absl::Status status = reader.Append(bytes); !status.ok()) return status;
    }
    return reader.Finish();
  }

  const std::vector<int>& tokens() const { return tokens_; }
  DecodedRecord& record() { return record_; }
  std::map<uint64_t, std::string>& runs() { return runs_; }

 private:
  DecodedRecord record_;
  std::vector<int> tokens_;
  std::map<uint64_t, std::string> runs_;
};

TEST(RunsTest, AnyWritesReadAsTheyWereWritten) {
  std::mt19937_64 random(7);
  Runs session;
  for (int i = 0; i < 3000; ++i) {
    const size_t length = session.tokens().size();
    const bool cut = random() % 8 == 0;
    const uint64_t keep = cut ? random() % (length + 1) : length;
    const size_t count = random() % 16 == 0 ? random() % 10000 : random() % 100;
    session.Write(keep, RandomTokens(random() % 9 == 0 ? 0 : count, random));
    const auto read = session.Read();
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_EQ(*read, session.tokens());
    if (read->size() > 50'000) session.Write(0, {});
  }
}

TEST(RunsTest, AnAppendCostsTheSameInALongSession) {
  std::mt19937_64 random(8);
  Runs session;
  constexpr size_t kTurn = 10;
  for (size_t length = 0; length < 100'000; length += kTurn) {
    // Three bytes a token, one run's frame, and what was in a run that was short before.
    ASSERT_LE(session.Write(length, RandomTokens(kTurn, random)), 3 * (kTurn + kShortRun) + 24);
  }
  EXPECT_LE(session.runs().size(), 100'000 / kShortRun + 1);
}

TEST(RunsTest, ALongAppendIsCutAndACutRewritesOneRun) {
  std::mt19937_64 random(9);
  Runs session;
  session.Write(0, RandomTokens(100'000, random));
  EXPECT_EQ(session.runs().size(), (100'000 + kLongestRun - 1) / kLongestRun);
  EXPECT_LE(session.Write(50'000, {}), 3 * kLongestRun + 24);
  EXPECT_EQ(*session.Read(), session.tokens());
}

TEST(RunsTest, AMissingRunIsNamed) {
  std::mt19937_64 random(10);
  Runs session;
  session.Write(0, RandomTokens(3 * kLongestRun, random));
  Runs no_middle = session;
  no_middle.runs().erase(kLongestRun);
  ExpectDamage(no_middle.Read().status(), "a", "tokens from 4096");
  Runs no_last = session;
  no_last.runs().erase(2 * kLongestRun);
  ExpectDamage(no_last.Read().status(), "a", "tokens from 8192");
  session.record().record.length -= 1;
  ExpectDamage(session.Read().status(), "a", "tokens from 12288");
}

TEST(RunsTest, WhatWasRightOnceIsDamageLater) {
  std::mt19937_64 random(11);
  Runs session;
  session.Write(0, RandomTokens(2 * kLongestRun, random));
  const Runs before = session;
  // The same lengths, other tokens.
  session.Write(0, RandomTokens(2 * kLongestRun, random));
  for (uint64_t stale : {uint64_t{0}, uint64_t{kLongestRun}}) {
    Runs mixed = session;
    Runs old = before;
    mixed.runs()[stale] = old.runs()[stale];
    EXPECT_EQ(mixed.Read().status().code(), absl::StatusCode::kDataLoss) << stale;
  }
}

TEST(RunsTest, AWriteOnAMissingRunIsRefused) {
  SessionWrite write;
  write.record.metadata.id = "a";
  write.keep = 300;
  ExpectDamage(ChangeRuns(write, nullptr).status(), "a", "tokens from 0");
  TokenRun last;
  last.start = 100;
  last.tokens.resize(50);
  ExpectDamage(ChangeRuns(write, &last).status(), "a", "tokens from 150");
}

}  // namespace
}  // namespace kvasir
