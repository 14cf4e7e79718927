#include <cmath>
#include <limits>
#include <numeric>

#include "engine/backend/cpu/kernels.h"
#include "engine/backend/rope_table.h"
#include "gmock/gmock.h"
#include "tests/engine/backend/cpu_backend_testing.h"

namespace kvasir {
namespace {

using CpuRowwiseTest = CpuNumericsTest;
KVASIR_INSTANTIATE_NUMERICS(CpuRowwiseTest);

double OutputRounding(const Backend& backend) {
  return backend.activation_dtype() == DType::kF32 ? kF32Rounding : kBf16Rounding;
}

// 1 / rms of n squares: n roundings of the sum halve in the root; mean, eps, root, inverse follow.
double InverseRmsError(int n) { return (n / 2.0 + 4) * kF32Rounding; }

TEST_P(CpuRowwiseTest, AddRmsNorm) {
  constexpr float kEps = 1e-6f;
  for (const int n : {1, 15, 16, 48, 100, 130, 1024}) {
    const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 2);
    Matrix residual = Matrix::Normal(19, n, DType::kF32, 1, 3.0f);
    const Matrix before = residual;
    Matrix x = Matrix::Normal(19, n, DType::kF32, 2);
    Matrix w = Matrix::Normal(1, n, DType::kF32, 3);
    Matrix out(19, n, backend->activation_dtype());
    for (const bool add : {true, false}) {
      residual = before;
      backend->AddRmsNorm(out.tensor(), residual.tensor(), add ? x.tensor() : Tensor{}, w.tensor(),
                          kEps);
      for (int r = 0; r < 19; ++r) {
        double squares = 0;
        for (int i = 0; i < n; ++i) {
          ASSERT_EQ(residual.At(r, i), add ? before.At(r, i) + x.At(r, i) : before.At(r, i));
          squares += double(residual.At(r, i)) * residual.At(r, i);
        }
        const double scale = 1 / std::sqrt(squares / n + double(kEps));
        for (int i = 0; i < n; ++i) {
          const double expected = residual.At(r, i) * scale * w.At(0, i);
          // two products after the scale, then the output's rounding
          const double error = InverseRmsError(n) + 2 * kF32Rounding + OutputRounding(*backend);
          ASSERT_LE(std::abs(out.At(r, i) - expected), 1.01 * error * std::abs(expected));
        }
      }
    }
  }
}

TEST_P(CpuRowwiseTest, NormsBeforeItRotatesUpToTheLastPosition) {
  for (const int d : {20, 32, 48, 64, 128}) {
    const AttentionShape shape = {3, 1, d, 5e6, 1e-6f};
    const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 2, shape);
    ASSERT_TRUE(backend->AllocateKv(1, 2).ok());
    const std::vector<int> positions = {0, 1, 255, 256, 4095, 65537, 131072, 262142, 262143};
    const int rows = static_cast<int>(positions.size());
    Matrix qkv = Matrix::Normal(rows, 5 * d, DType::kF32, 4, 2.0f);
    const Matrix before = qkv;
    Matrix q_norm = Matrix::Normal(1, d, DType::kF32, 5);
    Matrix k_norm = Matrix::Normal(1, d, DType::kF32, 6);
    const Batch batch = PlainBatch(std::vector<int>(rows, 0), positions);
    const DeviceBatch& staged = backend->Stage(batch);
    backend->NormRopeStore(qkv.tensor(), q_norm.tensor(), k_norm.tensor(), backend->Kv(0), staged);
    for (int r = 0; r < rows; ++r) {
      for (int h = 0; h < 3; ++h) {
        std::vector<double> normed(d);
        double squares = 0;
        for (int i = 0; i < d; ++i) squares += std::pow(double(before.At(r, h * d + i)), 2);
        for (int i = 0; i < d; ++i) {
          normed[i] = before.At(r, h * d + i) / std::sqrt(squares / d + 1e-6) * q_norm.At(0, i);
        }
        for (int i = 0; i < d / 2; ++i) {
          const double angle = positions[r] * std::pow(5e6, -2.0 * i / d);
          const double a = normed[i], b = normed[i + d / 2];
          // norm, two products, then cos or sin, product and sum; the angle itself is good to a few
          // roundings of a double: 262,143 * 2^-51
          const double error = (InverseRmsError(d) + 6 * kF32Rounding + 262143 * 0x1p-51) *
                               (std::abs(a) + std::abs(b));
          EXPECT_NEAR(qkv.At(r, h * d + i), a * std::cos(angle) - b * std::sin(angle), error);
          EXPECT_NEAR(qkv.At(r, h * d + i + d / 2), a * std::sin(angle) + b * std::cos(angle),
                      error);
        }
      }
    }
  }
}

TEST(RopeTableTest, RoundsTheExactAngle) {
  for (const double theta : {1e4, 1e6, 5e6}) {
    RopeTable table(theta, 128);
    std::vector<float> cos(64), sin(64);
    for (int position = 262143; position >= 0; position -= position > 1000 ? 7919 : 37) {
      table.Fill(&position, 1, cos.data(), sin.data());
      for (int i = 0; i < 64; ++i) {
        const double angle = position * std::pow(theta, -2.0 * i / 128);
        // one rounding to f32; two ways to reach the angle in double: position * 2^-51
        const double error = kF32Rounding + position * 0x1p-51 + 0x1p-50;
        ASSERT_NEAR(cos[i], std::cos(angle), error) << position << " " << i;
        ASSERT_NEAR(sin[i], std::sin(angle), error) << position << " " << i;
      }
    }
  }
}

TEST_P(CpuRowwiseTest, SiluMul) {
  for (const int n : {1, 16, 37, 200}) {
    const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 2);
    Matrix gate_up = Matrix::Normal(50, 2 * n, DType::kF32, 7, 6.0f);
    Matrix out(50, n, backend->activation_dtype());
    backend->SiluMul(out.tensor(), gate_up.tensor());
    for (int r = 0; r < 50; ++r) {
      for (int i = 0; i < n; ++i) {
        const double gate = gate_up.At(r, i);
        const double expected = gate / (1 + std::exp(-gate)) * gate_up.At(r, n + i);
        // exp within 2 ulp (4 roundings), sum, quotient, product, output
        const double error = 7 * kF32Rounding + OutputRounding(*backend);
        ASSERT_LE(std::abs(out.At(r, i) - expected), 1.01 * error * std::abs(expected));
      }
    }
  }
}

const Kernels& KernelsOf(const Numerics& numerics) {
  return **ChooseKernels(numerics.kernel, numerics.dtype);
}

TEST_P(CpuRowwiseTest, ExpIsWithinTwoUlp) {
  std::vector<float> x, y;
  for (double v = -104; v < 88.7; v += 0.00037) x.push_back(float(v));
  for (double v = 1e-8; v < 1; v *= 1.01) {
    x.push_back(float(v));
    x.push_back(float(-v));
  }
  y.resize(x.size());
  KernelsOf(GetParam()).exp(y.data(), x.data(), static_cast<int>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = std::exp(double(x[i]));
    const float nearest = float(expected);
    const double ulp = std::nextafter(nearest, INFINITY) - double(nearest);
    ASSERT_LE(std::abs(y[i] - expected), 2 * ulp) << x[i];
  }
}

TEST_P(CpuRowwiseTest, ExpAtItsEnds) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {0.0f, -0.0f, -inf,  -200.0f,      -1e30f,
                                inf,  89.0f, 1e30f, std::nanf("")};
  std::vector<float> y(x.size());
  KernelsOf(GetParam()).exp(y.data(), x.data(), static_cast<int>(x.size()));
  EXPECT_EQ(y[0], 1.0f);  // a maximum that stays keeps the sums bit for bit
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(y[2], 0.0f);  // a masked key adds nothing
  EXPECT_EQ(y[3], 0.0f);
  EXPECT_EQ(y[4], 0.0f);
  EXPECT_EQ(y[5], inf);
  EXPECT_EQ(y[6], inf);
  EXPECT_EQ(y[7], inf);
  EXPECT_TRUE(std::isnan(y[8]));
}

TEST_P(CpuRowwiseTest, RoundsToNearestEvenAndKeepsNan) {
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 1);
  const Kernels& kernels = KernelsOf(GetParam());
  Matrix x = Matrix::Normal(1, 37, DType::kF32, 8);
  x.Set(0, 0, 0x1.01p+0f);  // halfway, down to even
  x.Set(0, 1, 0x1.03p+0f);  // halfway, up to even
  x.Set(0, 2, std::nanf(""));
  x.Set(0, 3, -INFINITY);
  x.Set(0, 4, std::numeric_limits<float>::max());  // up to infinity
  Matrix out(1, 37, kernels.activation);
  kernels.convert(out.bytes().data(), x.tensor().as<float>(), 37);
  for (int i = 0; i < 37; ++i) {
    const float expected =
        kernels.activation == DType::kF32 ? x.At(0, i) : ToFloat(ToBFloat16(x.At(0, i)));
    if (i == 2) {
      EXPECT_TRUE(std::isnan(out.At(0, i)));
    } else {
      EXPECT_EQ(out.At(0, i), expected) << i;
    }
  }
}

TEST_P(CpuRowwiseTest, RowsDoNotDependOnTheirBatch) {
  constexpr int kRows = 37;
  constexpr int kCols = 70;
  const std::unique_ptr<Backend> one = MakeBackend(GetParam(), 1);
  const std::unique_ptr<Backend> many = MakeBackend(GetParam(), 5);
  const DType activation = one->activation_dtype();
  Matrix x = Matrix::Normal(kRows, kCols, DType::kF32, 9);
  Matrix w = Matrix::Normal(1, kCols, DType::kF32, 10);
  Matrix normed(kRows, kCols, activation), gated(kRows, kCols / 2, activation);
  many->AddRmsNorm(normed.tensor(), x.tensor(), {}, w.tensor(), 1e-6f);
  many->SiluMul(gated.tensor(), x.tensor());
  for (int r = 0; r < kRows; ++r) {
    Tensor row = x.tensor();
    row.data = row.as<float>() + size_t(r) * kCols;
    Matrix one_normed(1, kCols, activation), one_gated(1, kCols / 2, activation);
    one->AddRmsNorm(one_normed.tensor(), row.Rows(1), {}, w.tensor(), 1e-6f);
    one->SiluMul(one_gated.tensor(), row.Rows(1));
    EXPECT_EQ(one_normed.Row(0), normed.Row(r));
    EXPECT_EQ(one_gated.Row(0), gated.Row(r));
  }
}

TEST_P(CpuRowwiseTest, GathersRows) {
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 1);
  Matrix x = Matrix::Normal(6, 11, backend->activation_dtype(), 11);
  Batch batch = PlainBatch({0, 0, 0, 0, 0, 0}, {0, 1, 2, 3, 4, 5});
  batch.logit_rows = {0, 3, 5};
  Matrix out(3, 11, backend->activation_dtype());
  backend->GatherRows(out.tensor(), x.tensor(), backend->Stage(batch));
  EXPECT_EQ(out.Row(0), x.Row(0));
  EXPECT_EQ(out.Row(1), x.Row(3));
  EXPECT_EQ(out.Row(2), x.Row(5));
}

TEST_P(CpuRowwiseTest, CopiesBlocksInEveryLayer) {
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 2);
  constexpr int kLayers = 3;
  constexpr int kBlocks = 5;
  ASSERT_TRUE(backend->AllocateKv(kLayers, kBlocks).ok());
  const size_t bytes = backend->KvBlockBytes(1);
  EXPECT_EQ(backend->KvBlockBytes(kLayers), kLayers * bytes);
  const auto block = [&](int layer, int i) {
    return static_cast<char*>(backend->Kv(layer).data) + i * bytes;
  };
  for (int layer = 0; layer < kLayers; ++layer) {
    for (int i = 0; i < kBlocks; ++i) std::fill_n(block(layer, i), bytes, char(layer * 10 + i));
  }
  const std::vector<BlockCopy> copies = {{0, 3}, {4, 1}};
  backend->CopyBlocks(copies);
  const int from[kBlocks] = {0, 4, 2, 0, 4};
  for (int layer = 0; layer < kLayers; ++layer) {
    for (int i = 0; i < kBlocks; ++i) {
      const std::string expected(bytes, char(layer * 10 + from[i]));
      EXPECT_EQ(std::string(block(layer, i), bytes), expected) << layer << " " << i;
    }
  }
}

TEST_P(CpuRowwiseTest, SamplesEachRowInOrder) {
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 3);
  constexpr int kVocab = 20000;
  Matrix logits = Matrix::Normal(5, kVocab, DType::kF32, 12);
  SamplingParams greedy;
  greedy.temperature = 0;
  const std::vector<int> best = {17, 19999, 0, 4242, 5};
  std::vector<SamplingRow> rows;
  for (int r = 4; r >= 0; --r) {
    logits.Set(r, best[r], 100.0f);
    SamplingRow row;
    row.logits_row = r;
    row.params = &greedy;
    rows.push_back(row);
  }
  backend->Sample(logits.tensor(), rows);
  const std::span<const SampledToken> drawn = backend->Collect();
  ASSERT_EQ(drawn.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(drawn[i].id, best[4 - i]);
}

TEST_P(CpuRowwiseTest, MemoryIsZeroAndAligned) {
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 1);
  for (const size_t bytes : {size_t{1}, size_t{4097}, size_t{5} << 20}) {
    const std::unique_ptr<Buffer> buffer = backend->Allocate(bytes);
    EXPECT_EQ(buffer->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    const char* data = static_cast<const char*>(buffer->data());
    EXPECT_EQ(std::accumulate(data, data + bytes, 0), 0);
  }
}

}  // namespace
}  // namespace kvasir
