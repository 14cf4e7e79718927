// NFC against a plain reading of Unicode Standard Annex 15 over the reference's own tables, which
// are read here from JSON: nothing of the generated tables or of the fast paths is shared.
#include "tokenizer/nfc.h"

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

class PlainNfc {
 public:
  PlainNfc() {
    std::ifstream file(KVASIR_SOURCE_DIR "/tokenizer/data/hf-unicode-tables.json");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    rapidjson::Document json;
    json.Parse(text.c_str());
    EXPECT_FALSE(json.HasParseError());
    const auto& nfc = json["nfc"];
    for (const auto& [c, value] : nfc["ccc"].GetObject()) {
      combining_class_[std::stoul(c.GetString())] = value.GetInt();
    }
    for (const auto& [c, parts] : nfc["decomposition"].GetObject()) {
      for (const auto& part : parts.GetArray()) {
        decomposition_[std::stoul(c.GetString())] += char32_t{part.GetUint()};
      }
    }
    for (const auto& entry : nfc["composition"].GetArray()) {
      composition_[{entry[0].GetUint(), entry[1].GetUint()}] = entry[2].GetUint();
    }
    for (char32_t syllable = 0xAC00; syllable < 0xD7A4; ++syllable) {
      const char32_t i = syllable - 0xAC00;
      const char32_t open = syllable - i % 28;
      const char32_t lead = 0x1100 + i / 588;
      const char32_t vowel = 0x1161 + i % 588 / 28;
      decomposition_[syllable] = {lead, vowel};
      if (i % 28 == 0) {
        composition_[{lead, vowel}] = syllable;
      } else {
        decomposition_[syllable] += char32_t{0x11A7} + i % 28;
        composition_[{open, 0x11A7 + i % 28}] = syllable;
      }
    }
  }

  std::u32string Normalize(const std::u32string& text) const {
    std::u32string all;
    for (const char32_t c : text) {
      const auto found = decomposition_.find(c);
      all += found == decomposition_.end() ? std::u32string(1, c) : found->second;
    }
    for (size_t i = 0; i < all.size(); ++i) {  // Bubble each mark to its place.
      for (size_t j = i; j > 0 && Class(all[j]) != 0 && Class(all[j - 1]) > Class(all[j]); --j) {
        std::swap(all[j], all[j - 1]);
      }
    }
    for (size_t i = 1; i < all.size(); ++i) {
      // The last starter before i, unless something between blocks i from it.
      for (size_t j = i; j-- > 0;) {
        if (Class(all[j]) != 0) {
          if (Class(all[j]) >= Class(all[i])) break;
          continue;
        }
        const bool adjacent = j + 1 == i;
        const auto found = composition_.find({all[j], all[i]});
        if (found != composition_.end() && (adjacent || Class(all[i]) != 0)) {
          all[j] = found->second;
          all.erase(i--, 1);
        }
        break;
      }
    }
    return all;
  }

  // Characters that any of the tables knows.
  std::vector<char32_t> Interesting() const {
    std::vector<char32_t> all;
    for (const auto& [c, value] : combining_class_) all.push_back(c);
    for (const auto& [c, parts] : decomposition_) {
      if (c < 0xAC00 || c >= 0xAD00) all.push_back(c);
    }
    for (const auto& [pair, c] : composition_) {
      all.push_back(pair.first);
      all.push_back(pair.second);
    }
    return all;
  }

 private:
  int Class(char32_t c) const {
    const auto found = combining_class_.find(c);
    return found == combining_class_.end() ? 0 : found->second;
  }

  std::map<char32_t, int> combining_class_;
  std::map<char32_t, std::u32string> decomposition_;
  std::map<std::pair<char32_t, char32_t>, char32_t> composition_;
};

std::string ToUtf8(const std::u32string& text) {
  std::string out;
  for (const char32_t c : text) AppendUtf8(c, out);
  return out;
}

void ExpectNormalizes(const PlainNfc& plain, const std::u32string& text) {
  const std::string before = ToUtf8(text);
  const std::string want = ToUtf8(plain.Normalize(text));
  std::string got = "x";
  AppendNfc(before, got, nullptr);
  ASSERT_EQ(got, "x" + want) << testing::PrintToString(before);
  if (QuickCheckNfc(before)) {
    ASSERT_EQ(before, want);
  }
}

TEST(Nfc, EveryCharacterAloneAndAmongOthers) {
  const PlainNfc plain;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    ExpectNormalizes(plain, {c, 'b', 'e', c, 0x301, 'z', 0x1100, c, 0x323, c});
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Nfc, RandomTexts) {
  const PlainNfc plain;
  const std::vector<char32_t> interesting = plain.Interesting();
  const std::u32string common = U"ae\u0301\u0323\u0308\u0345\u1100\u1161\u11A8\uAC00\u09C7\u09BEz ";
  std::mt19937 random(1);
  for (int round = 0; round < 200000; ++round) {
    std::u32string text;
    for (size_t n = 1 + random() % 10; n > 0; --n) {
      text += random() % 2 ? common[random() % common.size()]
                           : interesting[random() % interesting.size()];
    }
    ExpectNormalizes(plain, text);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Nfc, PlainTextOfManyScriptsPassesTheQuickCheck) {
  for (const char* text : {"", "plain ASCII, long enough for words of eight", "Größe, façade",
                           "Съешь ещё", "中文，没有空格", "日本語のテキスト", "한국어", "ไทยภาษา",
                           "हिन्दी", "العربية", "🙂🙂"}) {
    EXPECT_TRUE(QuickCheckNfc(text)) << text;
  }
  EXPECT_FALSE(QuickCheckNfc("e\u0301"));
  EXPECT_FALSE(QuickCheckNfc("\u212B"));
}

TEST(Nfc, EditsCoverWhatWasRewritten) {
  const std::string text = "abc e\u0301 12345678 \u212B x";
  std::string out = "--";
  std::vector<TextEdit> edits;
  AppendNfc(text, out, &edits);
  ASSERT_EQ(out, "--abc \u00E9 12345678 \u00C5 x");
  ASSERT_EQ(edits.size(), 2);
  for (const TextEdit& edit : edits) {
    std::string part;
    AppendNfc(text.substr(edit.before.begin, edit.before.end - edit.before.begin), part, nullptr);
    EXPECT_EQ(part, out.substr(edit.after.begin, edit.after.end - edit.after.begin));
  }
  EXPECT_EQ(text.substr(0, edits[0].before.begin), out.substr(2, edits[0].after.begin - 2));
}

}  // namespace
}  // namespace kvasir
