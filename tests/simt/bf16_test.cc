// bf16 against the engine's own conversions.

#include <cuda_bf16.h>

#include <cmath>
#include <cstdint>

#include "engine/tensor.h"
#include "gtest/gtest.h"

namespace {

float Float(uint32_t bits) { return __builtin_bit_cast(float, bits); }

TEST(SimtBf16Test, ToFloatIsExact) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const float value = __bfloat162float(__ushort_as_bfloat16(static_cast<unsigned short>(bits)));
    ASSERT_EQ(__float_as_uint(value), bits << 16);
  }
}

TEST(SimtBf16Test, FromFloatRoundsAsTheEngineDoes) {
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 977) {
    const float value = Float(static_cast<uint32_t>(bits));
    const unsigned short got = __bfloat16_as_ushort(__float2bfloat16(value));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(Float(uint32_t{got} << 16)));
    } else {
      ASSERT_EQ(got, kvasir::ToBFloat16(value).bits) << value;
    }
  }
}

TEST(SimtBf16Test, ArithmeticRoundsOnce) {
  const __nv_bfloat16 a = 1.0f, b = 0x1p-8f;
  EXPECT_EQ(float(__hadd(a, b)), 1.0f);  // half of a unit in the last place, to even
  EXPECT_EQ(float(__hadd(__nv_bfloat16(1.0078125f), b)), 1.015625f);
  EXPECT_EQ(float(__hmul(__nv_bfloat16(3.0f), __nv_bfloat16(-0.5f))), -1.5f);
}

}  // namespace
