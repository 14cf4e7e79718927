#ifndef KVASIR_TOKENIZER_PRETOKENIZER_H_
#define KVASIR_TOKENIZER_PRETOKENIZER_H_

#include <cstddef>
#include <span>
#include <string_view>

namespace kvasir {

// How a text is cut before merges, which never cross a cut: into the successive matches of an
// expression, leftmost alternative first. Every text is wholly made of such matches.
enum class SplitRule {
  kQwen2,   // Qwen2, Qwen2.5, Qwen3
  kLlama3,  // as Qwen2, but up to three digits stay together
  kGpt2,
};

// The rule's expression, as written in the tokenizer.json files that use it.
std::string_view ExpressionOf(SplitRule rule);

// Cuts one text.
class Splitter {
 public:
  // REQUIRES: `text` is well-formed UTF-8 and outlives this.
  Splitter(SplitRule rule, std::string_view text)
      : rule_(rule), next_(text.data()), end_(text.data() + text.size()) {}

  // The next pieces, as many as there are and have room; none at the end of the text. Takes time
  // linear in their length.
  size_t Next(std::span<std::string_view> pieces);

 private:
  SplitRule rule_;
  const char* next_;
  const char* end_;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_PRETOKENIZER_H_
