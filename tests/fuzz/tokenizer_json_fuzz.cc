// Reads any bytes as tokenizer.json and, after the first NUL, tokenizer_config.json. What is
// accepted must be able to encode and decode.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(input.find('\0'), input.size());
  const auto tokenizer =
      kvasir::Tokenizer::FromJson(input.substr(0, cut), input.substr(std::min(cut + 1, size)));
  if (!tokenizer.ok()) {
    if (tokenizer.status().code() != absl::StatusCode::kInvalidArgument) std::abort();
    return 0;
  }
  const std::vector<uint32_t> ids = (*tokenizer)->Encode(input);
  if (!(*tokenizer)->Decode(ids, false).ok()) std::abort();
  return 0;
}
