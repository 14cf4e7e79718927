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
  struct Pattern {
    std::string text;
    AddedToken token;  // Its flags say where the pattern may be found.
  };

  AddedTokenTrie() = default;
  // A text that comes twice stands for its first token. REQUIRES: no text is empty.
  explicit AddedTokenTrie(std::vector<Pattern> patterns);

  bool empty() const { return patterns_.empty(); }

  struct Match {
    ByteRange range;  // With the white space that the token swallows.
    uint32_t id = 0;
  };

  // Appends all matches in `text`, in order, as Hugging Face `tokenizers` finds them, each wholly
  // inside one of `trusted`.
  // REQUIRES: `text` is well-formed UTF-8; `trusted` ascending, disjoint, none touching the next.
  void Find(std::string_view text, std::span<const ByteRange> trusted,
            std::vector<Match>& matches) const;

 private:
  // The children of a node lie side by side, so that a step is a short scan.
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t label = 0;
    int32_t pattern = -1;  // Index into patterns_; -1: none ends here.
  };

  // Where the next byte that starts a pattern lies in [begin, end); end for nowhere.
  size_t NextCandidate(std::string_view text, size_t begin, size_t end) const;
  // The longest pattern at the start of `text`; -1: none.
  int32_t Longest(std::string_view text) const;

  std::array<int32_t, 256> roots_ = {};  // Node by first byte, -1: no pattern starts so.
  int first_byte_ = -1;                  // The one that all patterns start with; -1: several.
  std::vector<Node> nodes_;
  std::vector<Pattern> patterns_;
};

// The added tokens of a tokenizer.
class AddedTokens {
 public:
  AddedTokens() = default;
  // `nfc`: text is normalised, so that contents of normalized tokens are too.
  // REQUIRES: ids and contents are each given once; no content is empty.
  AddedTokens(std::vector<AddedToken> tokens, bool nfc);

  // Ordered by id.
  std::span<const AddedToken> tokens() const { return tokens_; }
  bool IsSpecial(uint32_t id) const { return id < special_.size() && special_[id]; }

  // To be looked for in the text as it came: the tokens that are not `normalized`.
  const AddedTokenTrie& raw() const { return raw_; }
  // To be looked for in each normalised stretch between those.
  const AddedTokenTrie& normalized() const { return normalized_; }

 private:
  std::vector<AddedToken> tokens_;
  std::vector<bool> special_;  // by id
  AddedTokenTrie raw_;
  AddedTokenTrie normalized_;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_ADDED_TOKENS_H_
