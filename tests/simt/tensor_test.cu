// Tensor-core fragments against plain loops over matrices, under every schedule.

#include <random>
#include <vector>

#include "engine/backend/cuda/gpu.cuh"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

constexpr int kM = 16, kN = 8, kK = 16;

// Each lane gathers its fragments as gpu.cuh lays them out.  a: [M, K]; b: [K, N]; c, d: [M, N]
__global__ void MultiplyKernel(float* d, const bf16* a, const bf16* b, const float* c) {
  const int g = threadIdx.x / 4;
  const int t = threadIdx.x % 4;
  const auto pair = [](bf16 low, bf16 high) {
    return uint32_t{__bfloat16_as_ushort(low)} | uint32_t{__bfloat16_as_ushort(high)} << 16;
  };
  const auto a_pair = [&](int row, int column) {
    return pair(a[row * kK + column], a[row * kK + column + 1]);
  };
  const auto b_pair = [&](int row, int column) {
    return pair(b[row * kN + column], b[(row + 1) * kN + column]);
  };
  const uint32_t fa[4] = {a_pair(g, 2 * t), a_pair(g + 8, 2 * t), a_pair(g, 2 * t + 8),
                          a_pair(g + 8, 2 * t + 8)};
  const uint32_t fb[2] = {b_pair(2 * t, g), b_pair(2 * t + 8, g)};
  const int at[4] = {g * kN + 2 * t, g * kN + 2 * t + 1, (g + 8) * kN + 2 * t,
                     (g + 8) * kN + 2 * t + 1};
  float sum[4] = {c[at[0]], c[at[1]], c[at[2]], c[at[3]]};
  MultiplyAccumulate(sum, fa, fb);
  for (int i = 0; i < 4; ++i) d[at[i]] = sum[i];
}

// Small integers: every sum is exact, whatever its order.
std::vector<bf16> Integers(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<bf16> values;
  for (size_t i = 0; i < count; ++i) values.push_back(ToBf16(float(random() % 17) - 8));
  return values;
}

TEST(SimtMultiplyTest, IsTheMatrixProduct) {
  const std::vector<bf16> a = Integers(kM * kK, 1);
  const std::vector<bf16> b = Integers(kK * kN, 2);
  std::vector<float> c;
  for (const bf16 value : Integers(kM * kN, 3)) c.push_back(FromBf16(value));
  ForEachSchedule([&] {
    DeviceArray<bf16> da(a), db(b);
    DeviceArray<float> dc(c), dd(kM * kN);
    ASSERT_EQ(Launch(MultiplyKernel, 1, 32, 0, nullptr, dd.get(), da.get(), db.get(), dc.get()),
              cudaSuccess);
    const std::vector<float> d = dd.Read();
    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        float sum = c[m * kN + n];
        for (int k = 0; k < kK; ++k) sum += FromBf16(a[m * kK + k]) * FromBf16(b[k * kN + n]);
        EXPECT_EQ(d[m * kN + n], sum) << m << " " << n;
      }
    }
  });
}

// out: [2, 32, 4]; in: [32, 8] 16-bit elements, matrix i in the rows from 8 i on
__global__ void LoadKernel(uint32_t* out, const uint16_t* in) {
  KVASIR_SHARED(uint16_t, rows, [32][8]);
  const int lane = threadIdx.x;
  for (int i = 0; i < 8; ++i) rows[lane][i] = in[lane * 8 + i];
  __syncwarp();
  uint32_t straight[4], transposed[4];
  LoadMatrices(straight, rows[lane]);
  LoadMatricesTransposed(transposed, rows[lane]);
  for (int i = 0; i < 4; ++i) {
    out[lane * 4 + i] = straight[i];
    out[128 + lane * 4 + i] = transposed[i];
  }
}

TEST(SimtLoadMatricesTest, GivesEachLaneItsPairs) {
  std::vector<uint16_t> in(256);
  for (size_t i = 0; i < in.size(); ++i) in[i] = uint16_t(i);
  ForEachSchedule([&] {
    DeviceArray<uint16_t> from(in);
    DeviceArray<uint32_t> out(256);
    ASSERT_EQ(Launch(LoadKernel, 1, 32, 0, nullptr, out.get(), from.get()), cudaSuccess);
    const std::vector<uint32_t> values = out.Read();
    for (int lane = 0; lane < 32; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        const auto element = [&](int row, int column) {
          return uint32_t{in[(matrix * 8 + row) * 8 + column]};
        };
        const int row = lane / 4, column = lane % 4 * 2;
        EXPECT_EQ(values[lane * 4 + matrix], element(row, column) | element(row, column + 1) << 16);
        EXPECT_EQ(values[128 + lane * 4 + matrix], element(column, row) | element(column + 1, row)
                                                                              << 16);
      }
    }
  });
}

}  // namespace
}  // namespace kvasir::cuda
