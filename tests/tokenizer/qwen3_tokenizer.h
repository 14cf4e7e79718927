#ifndef KVASIR_TESTS_TOKENIZER_QWEN3_TOKENIZER_H_
#define KVASIR_TESTS_TOKENIZER_QWEN3_TOKENIZER_H_

#include <string>

#include "tokenizer/tokenizer.h"

namespace kvasir {

// The directory with the real Qwen3 tokenizer that scripts/fetch_testdata.sh brings.
std::string Qwen3TokenizerDirectory();

// The tokenizer there, loaded once. A test that needs it dies, saying what to run, without it.
const Tokenizer& Qwen3Tokenizer();

}  // namespace kvasir

#endif  // KVASIR_TESTS_TOKENIZER_QWEN3_TOKENIZER_H_
