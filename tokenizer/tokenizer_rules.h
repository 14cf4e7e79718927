#ifndef KVASIR_TOKENIZER_TOKENIZER_RULES_H_
#define KVASIR_TOKENIZER_TOKENIZER_RULES_H_

#include "absl/status/statusor.h"
#include "tokenizer/pretokenizer.h"

namespace kvasir {

class JsonFile;

// What a tokenizer.json can choose among the rules that are implemented.
struct TokenizerRules {
  bool nfc = false;  // normalizer: NFC or none
  SplitRule split = SplitRule::kQwen2;
  bool prefix_space = false;  // A text between added tokens gets a space before it, if it has none.
  bool ignore_merges = false;  // A piece that is a token is that token, whatever merges say.
};

// INVALID_ARGUMENT names the first rule that is not implemented and could change ids: anything but
// a BPE of bytes without dropout, affixes or byte_fallback, split by one of SplitRule.
absl::StatusOr<TokenizerRules> ReadTokenizerRules(const JsonFile& file);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_TOKENIZER_RULES_H_
