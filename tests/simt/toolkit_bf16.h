// bf16 of the toolkit's own header, for the host, as bits.
#ifndef KVASIR_TESTS_SIMT_TOOLKIT_BF16_H_
#define KVASIR_TESTS_SIMT_TOOLKIT_BF16_H_

#include <cstdint>

namespace toolkit {

uint32_t ToFloat(uint16_t value);
uint16_t FromFloat(uint32_t bits);
uint16_t Add(uint16_t a, uint16_t b);
uint16_t Subtract(uint16_t a, uint16_t b);
uint16_t Multiply(uint16_t a, uint16_t b);

}  // namespace toolkit

#endif  // KVASIR_TESTS_SIMT_TOOLKIT_BF16_H_
