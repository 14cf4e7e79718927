#ifndef KVASIR_TOKENIZER_FINGERPRINT_H_
#define KVASIR_TOKENIZER_FINGERPRINT_H_

#include <string>
#include <string_view>

#include "tokenizer/tokenizer_config.h"
#include "tokenizer/tokenizer_json.h"

namespace kvasir {

// XXH3-128, as 32 hex digits, of all that decides which ids a text or a conversation becomes and
// which text ids become. How the files are laid out makes no difference.
std::string FingerprintOf(const TokenizerJson& json, std::string_view chat_template,
                          const SpecialTokens& special_tokens);

// The same of one text.
std::string FingerprintOf(std::string_view text);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_FINGERPRINT_H_
