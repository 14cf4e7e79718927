#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "engine/backend/cuda/kernels.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

struct Shape {
  int m = 0, n = 0, k = 0;
};

std::vector<float> Multiply(const std::vector<bf16>& x, const std::vector<bf16>& w, Shape shape) {
  const DeviceArray<bf16> device_x(x), device_w(w);
  const DeviceArray<float> out(size_t(shape.m) * shape.n);
  EXPECT_EQ(Matmul({.x = device_x.get(),
                    .w = device_w.get(),
                    .m = shape.m,
                    .n = shape.n,
                    .k = shape.k,
                    .out = out.get()},
                   nullptr),
            cudaSuccess);
  return out.Read();
}

std::vector<bf16> MultiplyGated(const std::vector<bf16>& x, const std::vector<bf16>& w,
                                Shape shape) {
  const DeviceArray<bf16> device_x(x), device_w(w);
  const DeviceArray<bf16> out(size_t(shape.m) * shape.n / 2);
  EXPECT_EQ(Matmul({.x = device_x.get(),
                    .w = device_w.get(),
                    .m = shape.m,
                    .n = shape.n,
                    .k = shape.k,
                    .gated = out.get()},
                   nullptr),
            cudaSuccess);
  return out.Read();
}

// One output in f64, and what a sum of it in f32 may be off by: products of bf16 are exact; each
// enters a sum by one addition, which tensor cores cut where a CPU rounds (twice the error), and so
// do the chains. All are bounded by the sum of magnitudes.
struct Reference {
  double value = 0;
  double tolerance = 0;
};
Reference Dot(const bf16* x, const bf16* w, int k) {
  Reference sum;
  double magnitude = 0;
  for (int i = 0; i < k; ++i) {
    const double product = double(FromBf16(x[i])) * FromBf16(w[i]);
    sum.value += product;
    magnitude += std::abs(product);
  }
  sum.tolerance = 2 * (k + kMatmulSplits) * kF32Rounding * magnitude;
  return sum;
}

double Silu(double value) { return value / (1 + std::exp(-value)); }

// The slope of silu is below 1.1; expf (2 ulp), the sum, the quotient and the product are at most 8
// roundings of f32; then one of bf16.
Reference Gated(const Reference& gate, const Reference& up) {
  Reference result{Silu(gate.value) * up.value, 0};
  const double before = 1.1 * gate.tolerance * (std::abs(up.value) + up.tolerance) +
                        std::abs(Silu(gate.value)) * up.tolerance +
                        8 * kF32Rounding * std::abs(result.value);
  result.tolerance = before + kBf16Rounding * (std::abs(result.value) + before);
  return result;
}

void ExpectProduct(const std::vector<float>& out, const std::vector<bf16>& x,
                   const std::vector<bf16>& w, Shape shape) {
  for (int m = 0; m < shape.m; ++m) {
    for (int n = 0; n < shape.n; ++n) {
      const Reference expected = Dot(&x[size_t(m) * shape.k], &w[size_t(n) * shape.k], shape.k);
      ASSERT_LE(std::abs(out[size_t(m) * shape.n + n] - expected.value), expected.tolerance)
          << "row " << m << " column " << n;
    }
  }
}

// Gates and ups lie in w by turns of 8 rows.
void ExpectGated(const std::vector<bf16>& out, const std::vector<bf16>& x,
                 const std::vector<bf16>& w, Shape shape) {
  const int half = shape.n / 2;
  for (int m = 0; m < shape.m; ++m) {
    for (int n = 0; n < half; ++n) {
      const int gate_row = n / 8 * 16 + n % 8;
      const auto dot = [&](int row) {
        return Dot(&x[size_t(m) * shape.k], &w[size_t(row) * shape.k], shape.k);
      };
      const Reference expected = Gated(dot(gate_row), dot(gate_row + 8));
      ASSERT_LE(std::abs(FromBf16(out[size_t(m) * half + n]) - expected.value), expected.tolerance)
          << "row " << m << " column " << n;
    }
  }
}

TEST(CudaMatmulTest, AgreesWithDoublePrecision) {
  ForEachSchedule([] {
    // Each M meets every kind of N and K somewhere; the large ones only small others.
    for (const Shape shape : {Shape{1, 1, 8},
                              {1, 509, 264},
                              {2, 15, 24},
                              {7, 16, 520},
                              {8, 17, 40},
                              {8, 33, 256},
                              {9, 17, 264},
                              {9, 1, 48},
                              {16, 50, 520},
                              {17, 31, 40},
                              {33, 17, 520},
                              {64, 16, 8},
                              {65, 15, 264},
                              {130, 33, 24},
                              {256, 1, 48},
                              {257, 17, 40},
                              {300, 130, 8}}) {
      SCOPED_TRACE(testing::Message() << "M " << shape.m << " N " << shape.n << " K " << shape.k);
      const std::vector<bf16> x = NormalBf16(size_t(shape.m) * shape.k, 1);
      const std::vector<bf16> w = NormalBf16(size_t(shape.n) * shape.k, 2);
      ExpectProduct(Multiply(x, w, shape), x, w, shape);
    }
  });
}

TEST(CudaMatmulTest, RandomShapesAgreeWithDoublePrecision) {
  ForEachSchedule([] {
    std::mt19937 random(3);
    const auto draw = [&](int from, int to) {
      return std::uniform_int_distribution<int>(from, to)(random);
    };
    for (int round = 0; round < 12; ++round) {
      const Shape shape = {draw(1, round % 4 == 0 ? 300 : 20), draw(1, 70), 8 * draw(1, 80)};
      SCOPED_TRACE(testing::Message() << "M " << shape.m << " N " << shape.n << " K " << shape.k);
      const std::vector<bf16> x = NormalBf16(size_t(shape.m) * shape.k, round);
      const std::vector<bf16> w = NormalBf16(size_t(shape.n) * shape.k, round + 100);
      ExpectProduct(Multiply(x, w, shape), x, w, shape);
    }
  });
}

// Many columns make the large tiles worth while for fewer rows.
TEST(CudaMatmulTest, ManyColumns) {
  ForEachSchedule([] {
    const Shape shape = {65, 8200, 8};
    const std::vector<bf16> x = NormalBf16(size_t(shape.m) * shape.k, 4);
    const std::vector<bf16> w = NormalBf16(size_t(shape.n) * shape.k, 5);
    ExpectProduct(Multiply(x, w, shape), x, w, shape);
  });
}

TEST(CudaMatmulTest, GatedIsSiluOfGateTimesUp) {
  ForEachSchedule([] {
    for (const Shape shape : {Shape{1, 16, 8},
                              {3, 272, 264},
                              {8, 32, 40},
                              {12, 48, 264},
                              {40, 80, 48},
                              {259, 144, 40}}) {
      SCOPED_TRACE(testing::Message() << "M " << shape.m << " N " << shape.n << " K " << shape.k);
      const std::vector<bf16> x = NormalBf16(size_t(shape.m) * shape.k, 6);
      const std::vector<bf16> w = NormalBf16(size_t(shape.n) * shape.k, 7, 0.3f);
      ExpectGated(MultiplyGated(x, w, shape), x, w, shape);
    }
  });
}

TEST(CudaMatmulTest, GatedIsBitwiseTheUnfusedOne) {
  ForEachSchedule([] {
    constexpr Shape kShape = {5, 64, 296};
    const std::vector<bf16> x = NormalBf16(size_t(kShape.m) * kShape.k, 8);
    const std::vector<bf16> w = NormalBf16(size_t(kShape.n) * kShape.k, 9, 0.3f);
    const DeviceArray<float> gate_up(Multiply(x, w, kShape));
    const DeviceArray<bf16> unfused(size_t(kShape.m) * kShape.n / 2);
    ASSERT_EQ(SiluMul(unfused.get(), gate_up.get(), kShape.m, kShape.n / 2, nullptr), cudaSuccess);
    const std::vector<bf16> expected = unfused.Read();
    const std::vector<bf16> gated = MultiplyGated(x, w, kShape);
    EXPECT_EQ(std::memcmp(gated.data(), expected.data(), gated.size() * sizeof(bf16)), 0);
  });
}

// All kernels and tile sizes: what is added is the product that is stored elsewhere, rounded once.
TEST(CudaMatmulTest, AddsToWhatIsThere) {
  ForEachSchedule([] {
    for (const Shape shape :
         {Shape{1, 33, 40}, {3, 16, 264}, {12, 50, 40}, {40, 37, 48}, {259, 21, 40}}) {
      SCOPED_TRACE(testing::Message() << "M " << shape.m << " N " << shape.n << " K " << shape.k);
      const std::vector<bf16> x = NormalBf16(size_t(shape.m) * shape.k, 1);
      const std::vector<bf16> w = NormalBf16(size_t(shape.n) * shape.k, 2);
      std::vector<float> expected = NormalFloats(size_t(shape.m) * shape.n, 3, 4.0f);
      const DeviceArray<bf16> device_x(x), device_w(w);
      const DeviceArray<float> out(expected);
      ASSERT_EQ(Matmul({.x = device_x.get(),
                        .w = device_w.get(),
                        .m = shape.m,
                        .n = shape.n,
                        .k = shape.k,
                        .out = out.get(),
                        .add = true},
                       nullptr),
                cudaSuccess);
      const std::vector<float> product = Multiply(x, w, shape);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += product[i];
      EXPECT_EQ(out.Read(), expected);
    }
  });
}

// All kernels and tile sizes, the same bits.
TEST(CudaMatmulTest, RowDoesNotDependOnItsBatch) {
  ForEachSchedule([] {
    constexpr int kRows = 270;
    for (const auto& [n, k] : {std::pair{37, 296}, {16, 552}, {48, 40}}) {
      const std::vector<bf16> w = NormalBf16(size_t(n) * k, 10);
      const std::vector<bf16> x = NormalBf16(size_t(kRows) * k, 11);
      const std::vector<float> expected = Multiply(x, w, {kRows, n, k});
      const std::vector<bf16> expected_gated =
          n % 16 == 0 ? MultiplyGated(x, w, {kRows, n, k}) : std::vector<bf16>{};
      std::mt19937 random(12);
      for (const int longest : {1, 8, 9, 16, 70, kRows}) {
        // The first rows alone will do where a call has one row each.
        const int end = longest == 1 ? 9 : longest < 20 ? 60 : kRows;
        for (int row = 0; row < end;) {
          const int count =
              std::min(kRows - row, std::uniform_int_distribution<int>(1, longest)(random));
          const std::vector<bf16> part(&x[size_t(row) * k],
                                       &x[size_t(row) * k] + size_t(count) * k);
          SCOPED_TRACE(testing::Message() << "row " << row << ", " << count << " rows, N " << n);
          const std::vector<float> out = Multiply(part, w, {count, n, k});
          ASSERT_EQ(std::memcmp(out.data(), &expected[size_t(row) * n], out.size() * sizeof(float)),
                    0);
          if (n % 16 == 0) {
            const std::vector<bf16> gated = MultiplyGated(part, w, {count, n, k});
            ASSERT_EQ(std::memcmp(gated.data(), &expected_gated[size_t(row) * n / 2],
                                  gated.size() * sizeof(bf16)),
                      0);
          }
          row += count;
        }
      }
    }
  });
}

// A column of out depends on its own row of w alone.
TEST(CudaMatmulTest, ColumnDoesNotDependOnTheOthers) {
  ForEachSchedule([] {
    constexpr Shape kShape = {3, 70, 296};
    const std::vector<bf16> x = NormalBf16(size_t(kShape.m) * kShape.k, 13);
    const std::vector<bf16> w = NormalBf16(size_t(kShape.n) * kShape.k, 14);
    const std::vector<float> expected = Multiply(x, w, kShape);
    for (const auto& [first, count] : {std::pair{0, 1}, {5, 16}, {30, 40}}) {
      const std::vector<bf16> part(&w[size_t(first) * kShape.k],
                                   &w[size_t(first) * kShape.k] + size_t(count) * kShape.k);
      const std::vector<float> out = Multiply(x, part, {kShape.m, count, kShape.k});
      for (int m = 0; m < kShape.m; ++m) {
        EXPECT_EQ(std::memcmp(&out[size_t(m) * count], &expected[size_t(m) * kShape.n + first],
                              count * sizeof(float)),
                  0)
            << "row " << m << " columns from " << first;
      }
    }
  });
}

TEST(CudaMatmulTest, NanAndInfinityPass) {
  ForEachSchedule([] {
    for (const int rows : {1, 8, 12, 40, 258}) {
      const Shape shape = {rows, 20, 296};
      std::vector<bf16> w = NormalBf16(size_t(shape.n) * shape.k, 15);
      w[size_t(3) * shape.k + shape.k - 1] = ToBf16(std::numeric_limits<float>::quiet_NaN());
      std::vector<bf16> x = NormalBf16(size_t(shape.m) * shape.k, 16);
      x[size_t(rows - 1) * shape.k] = ToBf16(std::numeric_limits<float>::infinity());
      const std::vector<float> out = Multiply(x, w, shape);
      for (int m = 0; m < rows; ++m) {
        for (int n = 0; n < shape.n; ++n) {
          EXPECT_EQ(std::isfinite(out[size_t(m) * shape.n + n]), n != 3 && m != rows - 1)
              << "row " << m << " column " << n;
        }
        EXPECT_TRUE(std::isnan(out[size_t(m) * shape.n + 3])) << "row " << m;
      }
    }
  });
}

// Rows of x, w and out beside the ones that the call names: NaN, and NaN they stay.
TEST(CudaMatmulTest, TouchesOnlyWhatItNames) {
  ForEachSchedule([] {
    for (const int rows : {1, 7, 9, 17, 257}) {
      const Shape shape = {rows, 17, 40};
      const std::vector<bf16> inner_x = NormalBf16(size_t(shape.m) * shape.k, 17);
      const std::vector<bf16> inner_w = NormalBf16(size_t(shape.n) * shape.k, 18);
      const auto surrounded = [&](const std::vector<bf16>& inner) {
        std::vector<bf16> all(inner.size() + 2 * 8 * shape.k,
                              ToBf16(std::numeric_limits<float>::quiet_NaN()));
        std::copy(inner.begin(), inner.end(), all.begin() + 8 * shape.k);
        return all;
      };
      const DeviceArray<bf16> x(surrounded(inner_x)), w(surrounded(inner_w));
      const size_t size = size_t(shape.m) * shape.n;
      const size_t margin = 8 * shape.n;
      const DeviceArray<float> out(std::vector<float>(size + 2 * margin, 1234.5f));
      ASSERT_EQ(Matmul({.x = x.get() + 8 * shape.k,
                        .w = w.get() + 8 * shape.k,
                        .m = shape.m,
                        .n = shape.n,
                        .k = shape.k,
                        .out = out.get() + margin},
                       nullptr),
                cudaSuccess);
      const std::vector<float> all = out.Read();
      for (size_t i = 0; i < margin; ++i) {
        ASSERT_EQ(all[i], 1234.5f) << i;
        ASSERT_EQ(all[margin + size + i], 1234.5f) << i;
      }
      ExpectProduct({all.begin() + margin, all.end() - margin}, inner_x, inner_w, shape);
    }
  });
}

TEST(CudaMatmulTest, NoRowsAreNoWork) {
  const DeviceArray<bf16> w(NormalBf16(64, 19));
  EXPECT_EQ(Matmul({.w = w.get(), .m = 0, .n = 8, .k = 8}, nullptr), cudaSuccess);
}

}  // namespace
}  // namespace kvasir::cuda
