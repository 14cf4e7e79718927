#include "tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

using ::testing::ElementsAre;

// 256 single bytes with their own values as ids, and the results of `merges` from 256 up.
struct Model {
  explicit Model(const std::vector<std::pair<std::string, std::string>>& pairs) {
    std::array<uint32_t, 256> byte_ids;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      byte_ids[byte] = byte;
      Id(std::string(1, static_cast<char>(byte)));
    }
    for (const auto& [left, right] : pairs)
      merges.push_back({Id(left), Id(right), Id(left + right)});
    std::vector<TokenEntry> entries;
    for (const auto& [token, id] : ids) entries.push_back({id, token});
    vocabulary = Vocabulary(entries);
    bpe = Bpe(vocabulary, byte_ids, merges);
  }
  Model(const Model&) = delete;  // `bpe` points into it.
  Model& operator=(const Model&) = delete;

  uint32_t Id(const std::string& token) {
    return ids.emplace(token, static_cast<uint32_t>(ids.size())).first->second;
  }

  std::vector<uint32_t> Encode(std::string_view piece) const {
    Bpe::Scratch scratch;
    std::vector<uint32_t> out;
    bpe.Encode({&piece, 1}, piece.data() + piece.size(), scratch, out);
    return out;
  }

  // The definition: the leftmost pair of lowest rank, until there is none.
  std::vector<uint32_t> EncodePlainly(std::string_view piece) const {
    std::vector<uint32_t> symbols;
    for (const char c : piece) symbols.push_back(static_cast<unsigned char>(c));
    std::map<std::pair<uint32_t, uint32_t>, size_t> rank;  // The last of equal pairs counts.
    for (size_t i = 0; i < merges.size(); ++i) rank[{merges[i].left, merges[i].right}] = i;
    while (true) {
      size_t best = merges.size();
      size_t at = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = rank.find({symbols[i], symbols[i + 1]});
        if (found != rank.end() && found->second < best) {
          best = found->second;
          at = i;
        }
      }
      if (best == merges.size()) return symbols;
      symbols[at] = merges[best].result;
      symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(at) + 1);
    }
  }

  std::map<std::string, uint32_t> ids;
  std::vector<Merge> merges;
  Vocabulary vocabulary;
  Bpe bpe;
};

TEST(Bpe, LowestRankFirstThenLeftmost) {
  Model model({{"b", "c"}, {"a", "b"}, {"a", "a"}});
  EXPECT_THAT(model.Encode("abc"), ElementsAre('a', model.Id("bc")));
  EXPECT_THAT(model.Encode("ab"), ElementsAre(model.Id("ab")));
  EXPECT_THAT(model.Encode("aaa"), ElementsAre(model.Id("aa"), 'a'));
  EXPECT_THAT(model.Encode("x"), ElementsAre('x'));
}

// "abc" is a token, but "bc" is merged before "ab" can be: no text becomes it.
TEST(Bpe, ATokenThatMergesDoNotReachIsNotFoundWhole) {
  Model model({{"b", "c"}, {"a", "b"}, {"ab", "c"}});
  EXPECT_THAT(model.Encode("abc"), ElementsAre('a', model.Id("bc")));
}

TEST(Bpe, ZeroBytesAreBytes) {
  using namespace std::string_literals;
  Model model({{"\0"s, "\0"s}, {"a", "\0"s}});
  EXPECT_THAT(model.Encode("\0\0\0"s), ElementsAre(model.Id("\0\0"s), 0));
  EXPECT_THAT(model.Encode("a\0"s), ElementsAre(model.Id("a\0"s)));
  EXPECT_THAT(model.Encode("a"s), ElementsAre('a'));
}

TEST(Bpe, APairThatComesTwiceHasItsLastRank) {
  Model model({{"a", "b"}, {"b", "c"}, {"a", "b"}});
  EXPECT_THAT(model.Encode("abc"), ElementsAre('a', model.Id("bc")));
}

TEST(Bpe, NoMerges) {
  const Model model({});
  EXPECT_THAT(model.Encode("ab"), ElementsAre('a', 'b'));
  EXPECT_THAT(model.Encode(std::string(100, 'a')).size(), 100);
}

// Random merges of random parts, pieces of every length: one token, short and long ways of merging
// alike. `letters`: what texts are made of, in UTF-8; merges know only their bytes.
void CompareWithTheDefinition(std::mt19937& random, const std::vector<std::string>& letters,
                              size_t most_merges) {
  std::vector<std::string> tokens;
  for (const std::string& letter : letters) {
    for (const char byte : letter) tokens.emplace_back(1, byte);
  }
  std::vector<std::string> texts;
  for (int i = 0; i < 60; ++i) {
    std::string& piece = texts.emplace_back();
    const size_t length = 1 + random() % (i % 3 == 0 ? 200 : 20);
    while (piece.size() < length) piece += letters[random() % letters.size()];
  }
  std::vector<std::pair<std::string, std::string>> pairs;
  std::set<std::pair<std::string, std::string>> seen;
  for (size_t n = random() % most_merges; n > 0; --n) {
    std::string left = tokens[random() % tokens.size()];
    std::string right = tokens[random() % tokens.size()];
    if (random() % 4 != 0) {  // Two that the texts hold side by side.
      const std::string& text = texts[random() % texts.size()];
      const size_t at = random() % text.size();
      left = text.substr(at, 1 + random() % 4);
      right = text.substr(std::min(at + left.size(), text.size() - 1), 1 + random() % 4);
      if (std::count(tokens.begin(), tokens.end(), left) == 0) continue;
      if (std::count(tokens.begin(), tokens.end(), right) == 0) continue;
    }
    if (!seen.emplace(left, right).second && random() % 4 != 0) continue;
    pairs.emplace_back(left, right);
    tokens.push_back(left + right);
  }
  // Ranks need not follow the order in which tokens become possible.
  if (random() % 2) std::shuffle(pairs.begin(), pairs.end(), random);
  for (const std::string& token : tokens) {
    if (WellFormedPrefix(token) == token.size()) texts.push_back(token);
  }
  const Model model(pairs);
  for (const std::string& piece : texts) {
    ASSERT_EQ(model.Encode(piece), model.EncodePlainly(piece)) << testing::PrintToString(piece);
  }
}

TEST(Bpe, AgreesWithTheDefinition) {
  std::mt19937 random(1);
  for (int round = 0; round < 300 && !HasFatalFailure(); ++round) {
    std::vector<std::string> letters;
    for (size_t n = 2 + random() % 7; n > 0; --n) letters.emplace_back(1, 'a' + n);
    CompareWithTheDefinition(random, letters, 60);
  }
}

// Characters that share bytes, so that merges take parts of one into another.
TEST(Bpe, AgreesWithTheDefinitionOnCharactersOfSeveralBytes) {
  const std::vector<std::string> all = {"é", "è",      "中", "丮", "串", "些",     "한", "하",
                                        "ſ", "\u0301", "😀",  "a",  " ",  "\uFFFD", "！"};
  std::mt19937 random(1);
  for (int round = 0; round < 2000 && !HasFatalFailure(); ++round) {
    std::vector<std::string> letters;
    for (size_t n = 2 + random() % 4; n > 0; --n) letters.push_back(all[random() % all.size()]);
    CompareWithTheDefinition(random, letters, 120);
  }
}

}  // namespace
}  // namespace kvasir
