// Attention against an exact reference, and its bits under every cut of the work.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/cuda/attention_testing.h"

namespace kvasir::cuda {
namespace {

using testing::ElementsAreArray;

using Conversations = std::vector<std::unique_ptr<Conversation>>;

// One piece for each (begin, end), of a conversation of its own that goes on after it.
struct Pieces {
  Pieces(const Heads& heads, const std::vector<std::pair<int, int>>& ranges) {
    for (const auto& [begin, end] : ranges) {
      conversations.push_back(
          std::make_unique<Conversation>(heads, end + 3, 100 + 10 * conversations.size()));
      pieces.push_back({conversations.back().get(), begin, end});
    }
  }
  Conversations conversations;
  std::vector<Piece> pieces;
};

class AttentionShapes : public testing::TestWithParam<Heads> {};

TEST_P(AttentionShapes, ARaggedBatchIsNearTheReference) {
  const Heads heads = GetParam();
  const int many = 2 * 4 * kTileRows / heads.group + 3;
  const Pieces batch(heads,
                     {{0, 1}, {69, 70}, {0, many}, {515, 516}, {61, 61 + many / 2}, {15, 17}});
  ForEachSchedule([&] { ExpectNear(heads, batch.pieces, Attend(heads, batch.pieces, {})); });
}

// Rows of few and of many tiles, the spans of both cut among blocks.
TEST_P(AttentionShapes, PartsGiveTheBitsOfLoops) {
  const Heads heads = GetParam();
  const int many = 4 * kTileRows / heads.group + 1;
  const Pieces batch(heads, {{513, 514}, {505, 505 + many}});
  const std::vector<uint16_t> loops = Attend(heads, batch.pieces, {.partial_bytes = 0});
  ExpectNear(heads, batch.pieces, loops);
  ForEachSchedule([&] {
    EXPECT_THAT(Attend(heads, batch.pieces, {.wanted_blocks = 1000}), ElementsAreArray(loops));
  });
}

INSTANTIATE_TEST_SUITE_P(Heads, AttentionShapes,
                         testing::Values(Heads{1, 2, 16}, Heads{3, 1, 16}, Heads{16, 1, 16},
                                         Heads{2, 2, 32}, Heads{5, 1, 32}, Heads{4, 2, 64},
                                         Heads{8, 1, 64}, Heads{1, 1, 128}, Heads{3, 1, 128},
                                         Heads{4, 1, 128}),
                         [](const testing::TestParamInfo<Heads>& info) {
                           return "G" + std::to_string(info.param.group) + "K" +
                                  std::to_string(info.param.kv_heads) + "D" +
                                  std::to_string(info.param.head_dim);
                         });

// Contexts that end at, before and after the edges of blocks, key tiles and spans.
TEST(Attention, EveryEdgeOfAContext) {
  const Heads heads = {2, 1, 16};
  std::vector<std::pair<int, int>> ranges;
  for (const int context : {1, 15, 16, 17, 63, 64, 65, 511, 512, 513, 1100}) {
    ranges.emplace_back(context - 1, context);                // decode
    ranges.emplace_back(std::max(0, context - 20), context);  // the end of a prompt
  }
  const Pieces batch(heads, ranges);
  ForEachSchedule([&] {
    ExpectNear(heads, batch.pieces, Attend(heads, batch.pieces, {}));
    ExpectNear(heads, batch.pieces, Attend(heads, batch.pieces, {.wanted_blocks = 1000}));
  });
}

// The rows of [0, length) computed piece after piece, `sizes` by turns.
std::vector<uint16_t> InPieces(const Heads& heads, const Conversation& conversation, int length,
                               const std::vector<int>& sizes, const Launching& launching) {
  std::vector<uint16_t> all;
  for (int begin = 0, i = 0; begin < length; ++i) {
    const int end = std::min(length, begin + sizes[i % sizes.size()]);
    const std::vector<uint16_t> out = Attend(heads, {{&conversation, begin, end}}, launching);
    all.insert(all.end(), out.begin(), out.end());
    begin = end;
  }
  return all;
}

TEST(Attention, ARowsBitsDoNotDependOnTheCutOfTheWork) {
  const Heads heads = {3, 1, 16};
  constexpr int kLength = 600;
  const Conversation conversation(heads, kLength, 5);
  const std::vector<uint16_t> whole =
      Attend(heads, {{&conversation, 0, kLength}}, {.partial_bytes = 0});
  ExpectNear(heads, {{&conversation, 0, kLength}}, whole);

  EXPECT_THAT(InPieces(heads, conversation, kLength, {1}, {.blocks = 1}), ElementsAreArray(whole));
  ForEachSchedule([&] {
    EXPECT_THAT(Attend(heads, {{&conversation, 0, kLength}}, {.wanted_blocks = 1000, .blocks = 7}),
                ElementsAreArray(whole));
    EXPECT_THAT(InPieces(heads, conversation, kLength, {37, 5, 64, 130}, {}),
                ElementsAreArray(whole));
  });
}

// A row beside others of its batch, and in a batch alone.
TEST(Attention, ARowsBitsDoNotDependOnItsNeighbours) {
  const Heads heads = {4, 1, 64};
  const Pieces batch(heads, {{90, 91}, {0, 40}, {520, 521}});
  std::vector<uint16_t> alone;
  for (const Piece& piece : batch.pieces) {
    const std::vector<uint16_t> out = Attend(heads, {piece}, {.blocks = 1});
    alone.insert(alone.end(), out.begin(), out.end());
  }
  ForEachSchedule([&] { EXPECT_THAT(Attend(heads, batch.pieces, {}), ElementsAreArray(alone)); });
}

// Scores so far apart that all but one weight underflow, and maxima that rise from tile to tile.
TEST(Attention, SteepScores) {
  const Heads heads = {1, 1, 16};
  Conversation conversation(heads, 700, 3);
  for (int p = 0; p < conversation.length; ++p) {
    for (int i = 0; i < heads.head_dim; ++i) {
      conversation.q[p * heads.head_dim + i] = i == 0 ? 30.0f : 0.0f;
      conversation.k[p * heads.head_dim + i] = ToBf16(i == 0 ? 0.25f * p : 1.0f);
    }
  }
  const std::vector<Piece> pieces = {{&conversation, 699, 700}, {&conversation, 600, 680}};
  ForEachSchedule([&] { ExpectNear(heads, pieces, Attend(heads, pieces, {})); });
}

constexpr int kLongest = 262144;

// The longest context in a table that has few blocks. Each of its last tokens' keys is the one that
// the row before would want most, if it saw it.
std::unique_ptr<Conversation> LongestConversation(const Heads& heads) {
  constexpr int kTail = 4 * kBlockTokens;
  auto conversation =
      std::make_unique<Conversation>(heads, kLongest, 9, /*period=*/37 * kBlockTokens, kTail);
  for (int p = kLongest - kTail; p < kLongest; ++p) {
    for (int h = 0; h < heads.kv_heads; ++h) {
      for (int i = 0; i < heads.head_dim; ++i) {
        const float q = conversation->q[size_t(conversation->Row(p - 1)) * heads.q_width() +
                                        h * heads.group * heads.head_dim + i];
        conversation->k[size_t(conversation->Row(p)) * heads.kv_width() + h * heads.head_dim + i] =
            ToBf16(1.5f * q);
      }
    }
  }
  return conversation;
}

// Its last rows, all keys: once, for it takes long.
TEST(Attention, PositionsUpTo262143) {
  const Heads heads = {4, 1, 16};
  const std::unique_ptr<Conversation> conversation = LongestConversation(heads);
  const std::vector<Piece> pieces = {{conversation.get(), kLongest - 1, kLongest},
                                     {conversation.get(), kLongest - 4, kLongest - 1}};
  const std::vector<uint16_t> parts = Attend(heads, pieces, {});
  ExpectNear(heads, pieces, parts);
  EXPECT_THAT(Attend(heads, {pieces[0]}, {.partial_bytes = 0}),
              ElementsAreArray(parts.data(), heads.q_width()));
}

// Rows of a decode, of a small step and of a prompt that fills a tile and begins another; the keys
// of the last three spans of 512.
TEST(Attention, TheEndOfTheLongestContext) {
  constexpr int kFirstSpan = kLongest / kSpanKeys - 3;
  const Heads heads = {4, 1, 128};
  const std::unique_ptr<Conversation> conversation = LongestConversation(heads);
  const std::vector<Piece> pieces = {{conversation.get(), kLongest - 1, kLongest},
                                     {conversation.get(), kLongest - 4, kLongest - 1},
                                     {conversation.get(), kLongest - 17, kLongest}};
  const std::vector<uint16_t> expected = Attend(heads, pieces, {.first_span = kFirstSpan});
  ExpectNear(heads, pieces, expected, kFirstSpan);
  ForEachSchedule([&] {
    EXPECT_THAT(Attend(heads, pieces, {.wanted_blocks = 1000, .first_span = kFirstSpan}),
                ElementsAreArray(expected));
    EXPECT_THAT(Attend(heads, pieces, {.partial_bytes = 0, .first_span = kFirstSpan}),
                ElementsAreArray(expected));
  });
}

// Heads, pieces and cuts as they come: sequences without rows, of one token, that end at edges of
// blocks, tiles and spans.
TEST(Attention, RandomBatchesAreNearTheReference) {
  constexpr int kBatches = 12;  // under each schedule
  std::mt19937 random(1);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  ForEachSchedule([&] {
    for (int i = 0; i < kBatches; ++i) {
      constexpr int kHeadDims[] = {16, 32, 64, 128};
      const int head_dim = kHeadDims[below(4)];
      const Heads heads = {1 + below(head_dim > 32 ? 5 : kTileRows), 1 + below(2), head_dim};
      std::vector<std::pair<int, int>> ranges;
      for (int n = 1 + below(4); n > 0; --n) {
        constexpr int kEdges[] = {kBlockTokens, kKeyTile, kSpanKeys};
        const int edge = kEdges[below(3)] - 1 + below(3);
        const int end = below(2) ? edge : 1 + below(150);
        const int rows = below(3) == 0 ? below(2) : below(2) ? 1 : below(40);
        ranges.emplace_back(std::max(0, end - rows), end);
      }
      ranges.emplace_back(7, 8);  // some rows at least
      SCOPED_TRACE(testing::Message()
                   << "G " << heads.group << " K " << heads.kv_heads << " D " << heads.head_dim
                   << " rows " << testing::PrintToString(ranges));
      const Pieces batch(heads, ranges);
      const Launching launching = {.wanted_blocks = below(2) ? 1 : 1000,
                                   .partial_bytes = below(4) ? size_t{1} << 26 : size_t{5000},
                                   .blocks = 1 + below(5)};
      ExpectNear(heads, batch.pieces, Attend(heads, batch.pieces, launching));
    }
  });
}

TEST(Attention, RefusesOtherHeadSizes) {
  AttentionArgs args;
  args.heads = 1;
  args.kv = {nullptr, 1, 80};
  EXPECT_EQ(Attention(args, true, 1, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace kvasir::cuda
