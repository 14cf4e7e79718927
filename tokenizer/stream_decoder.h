#ifndef KVASIR_TOKENIZER_STREAM_DECODER_H_
#define KVASIR_TOKENIZER_STREAM_DECODER_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {

// Ids to text as they come. Bytes that may still become a character are held back; the texts
// returned by all Push calls and Finish, joined, equal Decode of all ids, however they were cut.
class StreamDecoder {
 public:
  // REQUIRES: `tokenizer` outlives this.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  // The text that is complete now and was not before, always well-formed UTF-8. INVALID_ARGUMENT
  // for an id without a token; the call then has had no effect.
  absl::StatusOr<std::string> Push(std::span<const uint32_t> ids);

  // What was held back, as U+FFFD. The decoder is then as new.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string held_;  // At most 3 bytes: the start of a well-formed character.
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_STREAM_DECODER_H_
