#ifndef KVASIR_TOKENIZER_PRETOKENIZER_H_
#define KVASIR_TOKENIZER_PRETOKENIZER_H_

#include <string_view>

namespace kvasir {

// The split rule of Qwen2, Qwen2.5 and Qwen3, as written in their tokenizer.json. Text is cut into
// the successive matches of this expression, leftmost alternative first; merges never cross a cut.
inline constexpr std::string_view kQwenSplitRule =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The first piece of `text` by the Qwen split rule; the rule leaves nothing between pieces.
// Cutting a whole text piece by piece takes time linear in its length.
// REQUIRES: `text` is well-formed UTF-8 and not empty.
std::string_view FirstPiece(std::string_view text);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_PRETOKENIZER_H_
