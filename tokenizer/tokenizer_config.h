#ifndef KVASIR_TOKENIZER_TOKENIZER_CONFIG_H_
#define KVASIR_TOKENIZER_TOKENIZER_CONFIG_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kvasir {

// What tokenizer_config.json calls the special tokens, for a chat template's variables. Empty
// where the model has none.
struct SpecialTokens {
  std::string bos;
  std::string eos;
  std::string pad;
};

// The part of a tokenizer_config.json that has to do with chat. Missing fields are empty.
struct TokenizerConfig {
  std::string chat_template;  // Where there are several, the one named "default".
  SpecialTokens special_tokens;
  std::string name_or_path;
};

// INVALID_ARGUMENT, naming the field, where the file is broken.
absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view text);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_TOKENIZER_CONFIG_H_
