#ifndef KVASIR_TOKENIZER_NFC_H_
#define KVASIR_TOKENIZER_NFC_H_

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/text_edits.h"

namespace kvasir {

// Normalization Form C (Unicode Standard Annex 15) with the tables of Unicode 9, which the
// reference uses.

// Length of the longest prefix that is well-formed UTF-8, of characters that NFC leaves alone
// wherever they stand: all of most texts.
size_t InertPrefix(std::string_view bytes);

// Whether `text` surely is in NFC: the annex's quick check. False: AppendNfc must say.
// REQUIRES: well-formed UTF-8.
bool QuickCheckNfc(std::string_view text);

// Appends NFC(text). Where `edits` is given, appends the stretches that were looked into (offsets
// of `before` within `text`, of `after` within `out`). Near-linear in the length of any text.
// REQUIRES: well-formed UTF-8.
void AppendNfc(std::string_view text, std::string& out, std::vector<TextEdit>* edits);

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_NFC_H_
