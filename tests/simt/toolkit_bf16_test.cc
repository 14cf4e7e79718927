// The stand-in's bf16 against the toolkit's, bit for bit.

#include "tests/simt/toolkit_bf16.h"

#include <cuda_bf16.h>

#include <cstdint>
#include <random>

#include "gtest/gtest.h"

namespace {

__nv_bfloat16 Value(uint16_t bits) { return __ushort_as_bfloat16(bits); }
bool IsNan(uint16_t bits) { return (bits & 0x7fff) > 0x7f80; }

// The same bits, but for a NaN's own.
void ExpectSame(__nv_bfloat16 got, uint16_t want) {
  const uint16_t bits = __bfloat16_as_ushort(got);
  if (IsNan(want)) {
    ASSERT_TRUE(IsNan(bits));
  } else {
    ASSERT_EQ(bits, want);
  }
}

TEST(SimtToolkitBf16Test, ToFloat) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const auto value = static_cast<uint16_t>(bits);
    ASSERT_EQ(__float_as_uint(__bfloat162float(Value(value))), toolkit::ToFloat(value));
  }
}

TEST(SimtToolkitBf16Test, FromFloat) {
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 487) {
    const auto word = static_cast<uint32_t>(bits);
    ASSERT_EQ(__bfloat16_as_ushort(__float2bfloat16(__uint_as_float(word))),
              toolkit::FromFloat(word));
  }
}

TEST(SimtToolkitBf16Test, Arithmetic) {
  std::mt19937 random(1);
  for (int i = 0; i < 2'000'000; ++i) {
    const auto a = static_cast<uint16_t>(random());
    const auto b = static_cast<uint16_t>(random());
    ExpectSame(__hadd(Value(a), Value(b)), toolkit::Add(a, b));
    ExpectSame(__hsub(Value(a), Value(b)), toolkit::Subtract(a, b));
    ExpectSame(__hmul(Value(a), Value(b)), toolkit::Multiply(a, b));
  }
}

}  // namespace
