#ifndef KVASIR_TOKENIZER_JINJA_LEXER_H_
#define KVASIR_TOKENIZER_JINJA_LEXER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tokenizer/jinja/error.h"

namespace kvasir::jinja {

struct Token {
  enum class Kind {
    kData,  // Text of the template, white space already controlled.
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,  // `text` is unescaped.
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };

  Kind kind = Kind::kEnd;
  std::string text;
  int64_t integer = 0;
  double real = 0;
  Position at;
};

// Cuts a template into tokens, ending with kEnd, as Jinja does with trim_blocks and lstrip_blocks
// on and keep_trailing_newline off (the settings of Hugging Face transformers). Comments and raw
// blocks are resolved here.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace kvasir::jinja

#endif  // KVASIR_TOKENIZER_JINJA_LEXER_H_
