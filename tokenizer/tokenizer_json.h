#ifndef KVASIR_TOKENIZER_TOKENIZER_JSON_H_
#define KVASIR_TOKENIZER_TOKENIZER_JSON_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/merge_table.h"
#include "tokenizer/tokenizer_rules.h"
#include "tokenizer/vocabulary.h"

namespace kvasir {

// What a tokenizer.json says: a byte-level BPE.
struct TokenizerJson {
  Vocabulary vocabulary;  // Added tokens included.
  std::array<uint32_t, 256> byte_ids;
  std::vector<Merge> merges;  // by rank
  std::vector<AddedToken> added_tokens;
  // With ignore_merges: the tokens that a piece of text can be, no two of the same bytes.
  std::vector<uint32_t> whole_tokens;
  TokenizerRules rules;
};

// INVALID_ARGUMENT, naming the field, where the file is broken or asks for what is not
// implemented. Where Hugging Face gives an added token another id than the file does, the file is
// right.
absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string text);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_TOKENIZER_JSON_H_
