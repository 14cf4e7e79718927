#include "tests/tokenizer/qwen3_tokenizer.h"

#include <cstdlib>
#include <iostream>

namespace kvasir {

std::string Qwen3TokenizerDirectory() { return KVASIR_TESTDATA_DIR "/qwen3"; }

const Tokenizer& Qwen3Tokenizer() {
  static const Tokenizer& tokenizer = [&]() -> const Tokenizer& {
    absl::StatusOr<std::unique_ptr<Tokenizer>> loaded = Tokenizer::Load(Qwen3TokenizerDirectory());
    if (!loaded.ok()) {
      std::cerr << "The Qwen3 tokenizer cannot be loaded: " << loaded.status()
                << "\nRun scripts/fetch_testdata.sh build/testdata first." << std::endl;
      std::exit(1);
    }
    return *loaded->release();
  }();
  return tokenizer;
}

}  // namespace kvasir
