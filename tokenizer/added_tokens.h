#ifndef KVASIR_TOKENIZER_ADDED_TOKENS_H_
#define KVASIR_TOKENIZER_ADDED_TOKENS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/byte_range.h"

namespace kvasir {

// An entry of `added_tokens` in tokenizer.json: found in the text before anything else is done.
struct AddedToken {
  uint32_t id = 0;
  std::string content;
  bool special = false;      // Decode may skip it.
  bool lstrip = false;       // Swallows white space on its left.
  bool rstrip = false;       // Swallows white space on its right.
  bool single_word = false;  // Found only where no word character touches it.
  bool normalized = false;   // Looked for in the normalised text, not in the text as it came.
};

// Finds one set of strings in a text, leftmost first and longest at each place.
class AddedTokenTrie {
 public:
  // `patterns[i]` stands for the token `tokens[i]`, whose flags decide where it may match. A
  // pattern that comes twice keeps its first token. Empty patterns are never found.
  AddedTokenTrie() = default;
  AddedTokenTrie(std::vector<std::string> patterns, std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  struct Match {
    ByteRange range;  // With the white space that the token swallows.
    uint32_t id = 0;
  };

  // Replaces `matches` by all matches in `text`, in order, as Hugging Face `tokenizers` finds
  // them, each wholly inside one of `trusted`.
  // REQUIRES: `text` is well-formed UTF-8; `trusted` ascending, disjoint, none touching the next.
  void Find(std::string_view text, std::span<const ByteRange> trusted,
            std::vector<Match>& matches) const;

 private:
  // The children of a node lie side by side, so that a step is a short scan.
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t label = 0;
    int32_t token = -1;  // Index into tokens_, -1: no pattern ends here.
  };

  // The end of the longest pattern at `begin` that ends by `limit`, and its token; -1 for none.
  int32_t Longest(std::string_view text, size_t begin, size_t limit, size_t& end) const;

  std::array<int32_t, 256> roots_ = {};  // Node by first byte, -1: no pattern starts so.
  int single_first_byte_ = -1;           // Where all patterns share it: memchr finds candidates.
  std::vector<Node> nodes_;
  std::vector<AddedToken> tokens_;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_ADDED_TOKENS_H_
