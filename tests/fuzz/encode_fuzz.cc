// Encodes any bytes with small tokenizers that use every flag of added tokens. The first two bytes
// choose what is trusted and where the ids are cut.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/tokenizer/small_tokenizer.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

std::string AddedTokensOfAllKinds() {
  return "[" + AddedTokenJson(261, "<|end|>", {"special"}) + "," +
         AddedTokenJson(262, "<l>", {"lstrip"}) + "," + AddedTokenJson(263, "<r>", {"rstrip"}) +
         "," + AddedTokenJson(264, "<b>", {"lstrip", "rstrip", "normalized"}) + "," +
         AddedTokenJson(265, "word", {"single_word", "normalized"}) + "," +
         AddedTokenJson(266, "e\u0303", {"normalized"}) + "," + AddedTokenJson(267, "\n ", {}) +
         "]";
}

void Check(const Tokenizer& tokenizer, std::string_view text, uint8_t trust, uint8_t cut) {
  const std::vector<uint32_t> ids = tokenizer.Encode(text);
  const ByteRange all = {0, text.size()};
  Require(tokenizer.EncodeTrusted(text, std::span(&all, 1)) == ids);
  Require(tokenizer.EncodeTrusted(text, {}) == tokenizer.Encode(text, {.plain = true}));
  std::vector<ByteRange> trusted;
  for (size_t at = trust & 3, step = 1 + (trust >> 2); at < text.size(); at += 2 * step) {
    trusted.push_back({at, std::min(at + step, text.size())});
  }
  Require(tokenizer.CheckIds(tokenizer.EncodeTrusted(text, trusted)).ok());

  const absl::StatusOr<std::string> decoded = tokenizer.Decode(ids, false);
  Require(decoded.ok());
  StreamDecoder decoder(tokenizer, false);
  const size_t first = std::min<size_t>(cut, ids.size());
  std::string streamed = *decoder.Push(std::span(ids).first(first));
  streamed += *decoder.Push(std::span(ids).subspan(first));
  streamed += decoder.Finish();
  Require(streamed == *decoded);
}

}  // namespace
}  // namespace kvasir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using kvasir::Tokenizer;
  static const Tokenizer& normalizing =
      *kvasir::SmallTokenizer({{"/added_tokens", kvasir::AddedTokensOfAllKinds()}}).release();
  static const Tokenizer& raw =
      *kvasir::SmallTokenizer(
           {{"/added_tokens", kvasir::AddedTokensOfAllKinds()}, {"/normalizer", "null"}})
           .release();
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  kvasir::Check(normalizing, text, data[0], data[1]);
  kvasir::Check(raw, text, data[0], data[1]);
  // Without normalisation and added tokens the ids hold the text, byte for byte.
  std::string repaired;
  kvasir::AppendRepaired(text, repaired, nullptr);
  kvasir::Require(*raw.Decode(raw.Encode(text, {.plain = true}), false) == repaired);
  return 0;
}
