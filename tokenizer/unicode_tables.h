#ifndef KVASIR_TOKENIZER_UNICODE_TABLES_H_
#define KVASIR_TOKENIZER_UNICODE_TABLES_H_

#include <cstdint>

// The generated data behind unicode.h and nfc.h (see make_unicode_tables.py). Two-stage tables:
// the index names the block of equal blocks, the data holds each block once.
namespace kvasir::unicode_tables {

extern const uint8_t kClassIndex[0x110000 / 256];
extern const uint8_t kClassData[];
extern const uint8_t kLeadClasses[256];
extern const uint8_t kNfcIndex[0x110000 / 128];
extern const uint16_t kNfcData[];

// Full canonical decompositions, by ascending code point; the parts of the i-th are
// kDecomposedParts[kDecomposedBegin[i] .. kDecomposedBegin[i + 1]).
extern const int kDecomposedCount;
extern const uint32_t kDecomposed[];
extern const uint16_t kDecomposedBegin[];
extern const uint32_t kDecomposedParts[];

struct Composition {
  uint32_t first;
  uint32_t second;
  uint32_t composite;
};
// Ascending by (first, second).
extern const int kCompositionsCount;
extern const Composition kCompositions[];

}  // namespace kvasir::unicode_tables

#endif  // KVASIR_TOKENIZER_UNICODE_TABLES_H_
