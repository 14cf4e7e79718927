#ifndef KVASIR_TOKENIZER_TOKENIZER_RULES_H_
#define KVASIR_TOKENIZER_TOKENIZER_RULES_H_

#include "absl/status/statusor.h"
#include "tokenizer/json_file.h"

namespace kvasir {

// What a tokenizer.json can choose among the rules that are implemented.
struct TokenizerRules {
  bool nfc = false;  // normalizer: NFC or none
};

// INVALID_ARGUMENT names the first rule that is not implemented and could change ids: anything but
// a BPE without dropout, affixes, byte_fallback or ignore_merges, split by the Qwen rule.
absl::StatusOr<TokenizerRules> ReadTokenizerRules(const JsonFile& file);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_TOKENIZER_RULES_H_
