#include "tests/simt/toolkit_bf16.h"

// One program holds both types.
#define __nv_bfloat16 toolkit_nv_bfloat16
#define __nv_bfloat162 toolkit_nv_bfloat162
#define __nv_bfloat16_raw toolkit_nv_bfloat16_raw
#define __nv_bfloat162_raw toolkit_nv_bfloat162_raw
#include <cuda_bf16.h>

#include <cstring>

namespace toolkit {
namespace {

template <class To, class From>
To Bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(static_cast<void*>(&to), &from, sizeof(to));
  return to;
}
__nv_bfloat16 Value(uint16_t bits) { return Bits<__nv_bfloat16>(bits); }

}  // namespace

uint32_t ToFloat(uint16_t value) { return Bits<uint32_t>(__bfloat162float(Value(value))); }
uint16_t FromFloat(uint32_t bits) { return Bits<uint16_t>(__float2bfloat16(Bits<float>(bits))); }
uint16_t Add(uint16_t a, uint16_t b) { return Bits<uint16_t>(__hadd(Value(a), Value(b))); }
uint16_t Subtract(uint16_t a, uint16_t b) { return Bits<uint16_t>(__hsub(Value(a), Value(b))); }
uint16_t Multiply(uint16_t a, uint16_t b) { return Bits<uint16_t>(__hmul(Value(a), Value(b))); }

}  // namespace toolkit
