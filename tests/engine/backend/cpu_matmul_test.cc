#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "tests/engine/backend/cpu_backend_testing.h"

namespace kvasir {
namespace {

using CpuMatmulTest = CpuNumericsTest;
KVASIR_INSTANTIATE_NUMERICS(CpuMatmulTest);

// Every product of two bf16 (or the fma of two f32) enters a sum by one rounding: K of them, each
// no larger than the roundoff of sum |x w|.
void ExpectProduct(Matrix& out, const Matrix& x, const Matrix& w) {
  for (int r = 0; r < out.rows(); ++r) {
    for (int n = 0; n < out.cols(); ++n) {
      double expected = 0;
      double magnitude = 0;
      for (int k = 0; k < x.cols(); ++k) {
        const double product = double(x.At(r, k)) * w.At(n, k);
        expected += product;
        magnitude += std::abs(product);
      }
      const double tolerance = (x.cols() + 1) * kF32Rounding * magnitude;
      ASSERT_LE(std::abs(out.At(r, n) - expected), tolerance) << "row " << r << " column " << n;
    }
  }
}

TEST_P(CpuMatmulTest, AgreesWithDoublePrecision) {
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 2);
  const DType activation = backend->activation_dtype();
  struct Shape {
    int m, n, k;
  };
  for (const Shape s : {Shape{1, 1, 2},
                        {1, 16, 32},
                        {2, 17, 30},
                        {3, 100, 64},
                        {4, 250, 10},
                        {5, 33, 7},
                        {6, 95, 129},
                        {7, 48, 258},
                        {13, 130, 33},
                        {31, 65, 300},
                        {40, 96, 521},
                        {1, 777, 640},
                        {203, 90, 270},
                        {97, 40, 96},
                        // Weights that are streamed, and blocks of k.
                        {1, 257, 4101},
                        {5, 300, 2600},
                        {16, 257, 4101},
                        {40, 33, 4101}}) {
    SCOPED_TRACE(testing::Message() << "M " << s.m << " N " << s.n << " K " << s.k);
    const Matrix w = Matrix::Normal(s.n, s.k, GetParam().dtype, 1);
    Matrix x = Matrix::Normal(s.m, s.k, activation, 2);
    Matrix out(s.m, s.n, DType::kF32);
    const PackedWeight packed = backend->Pack({{w.host()}});
    EXPECT_EQ(packed.rows, s.n);
    EXPECT_EQ(packed.cols, s.k);
    backend->Matmul(out.tensor(), x.tensor(), packed);
    ExpectProduct(out, x, w);
  }
}

TEST_P(CpuMatmulTest, RowDoesNotDependOnItsBatchNorOnThreads) {
  constexpr int kRows = 211;
  // The last one is streamed by few rows, and cut into blocks of k for many.
  for (const auto& [n, k] : {std::pair{200, 390}, {70, 1029}, {150, 4101}}) {
    const Matrix w = Matrix::Normal(n, k, GetParam().dtype, 3);
    std::vector<std::string> expected;
    for (const int threads : {1, 2, 5}) {
      const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), threads);
      const PackedWeight packed = backend->Pack({{w.host()}});
      Matrix x = Matrix::Normal(kRows, k, backend->activation_dtype(), 4);
      const size_t row_bytes = k * SizeOf(backend->activation_dtype());
      std::mt19937 random(threads);
      for (int round = 0; round < 6; ++round) {
        for (int row = 0; row < kRows;) {
          const int left = kRows - row;
          const int count = round == 0   ? left
                            : round == 1 ? 1
                                         : std::uniform_int_distribution<int>(1, left)(random);
          const Tensor part = {x.bytes().data() + row * row_bytes, backend->activation_dtype(),
                               count, k};
          Matrix out(count, n, DType::kF32);
          backend->Matmul(out.tensor(), part, packed);
          for (int i = 0; i < count; ++i, ++row) {
            if (static_cast<int>(expected.size()) == row) {
              expected.push_back(out.Row(i));
            } else {
              ASSERT_EQ(out.Row(i), expected[row]) << "row " << row << " of " << count;
            }
          }
        }
      }
    }
  }
}

TEST_P(CpuMatmulTest, StacksPartsAndRoundsToItsDtype) {
  constexpr int kCols = 37;
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 2);
  const Matrix a = Matrix::Normal(5, kCols, DType::kF32, 5);
  const Matrix b = Matrix::Normal(30, kCols, DType::kBf16, 6);
  // f16: 1 + 2^-10, -2, 2^-24 (the least subnormal), 65504.
  std::vector<uint16_t> c(kCols, 0x3c01);
  c[1] = 0xc000;
  c[2] = 0x0001;
  c[3] = 0x7bff;
  const PackedWeight packed =
      backend->Pack({{a.host(), b.host(), HostMatrix{c.data(), DType::kF16, 1, kCols}}});
  ASSERT_EQ(packed.rows, 36);
  // Embed shows what was packed.
  Batch batch = PlainBatch({0, 4, 5, 34, 35}, {0, 1, 2, 3, 4});
  Matrix x(5, kCols, DType::kF32);
  backend->Embed(x.tensor(), packed, backend->Stage(batch));
  const auto rounded = [](float value) {
    return GetParam().dtype == DType::kF32 ? value : ToFloat(ToBFloat16(value));
  };
  for (int k = 0; k < kCols; ++k) {
    EXPECT_EQ(x.At(0, k), rounded(a.At(0, k)));
    EXPECT_EQ(x.At(1, k), rounded(a.At(4, k)));
    EXPECT_EQ(x.At(2, k), b.At(0, k));
    EXPECT_EQ(x.At(3, k), b.At(29, k));
  }
  EXPECT_EQ(x.At(4, 0), rounded(1.0f + 0x1p-10f));
  EXPECT_EQ(x.At(4, 1), -2.0f);
  EXPECT_EQ(x.At(4, 2), 0x1p-24f);
  EXPECT_EQ(x.At(4, 3), rounded(65504.0f));
}

TEST_P(CpuMatmulTest, NanAndInfinityPass) {
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam(), 1);
  for (const int rows : {1, 8, 40}) {
    Matrix w = Matrix::Normal(20, 34, GetParam().dtype, 7);
    w.Set(3, 33, std::nanf(""));
    Matrix x = Matrix::Normal(rows, 34, backend->activation_dtype(), 8);
    x.Set(rows - 1, 0, INFINITY);
    Matrix out(rows, 20, DType::kF32);
    backend->Matmul(out.tensor(), x.tensor(), backend->Pack({{w.host()}}));
    for (int r = 0; r < rows; ++r) {
      for (int n = 0; n < 20; ++n) {
        EXPECT_EQ(std::isfinite(out.At(r, n)), n != 3 && r != rows - 1) << r << " " << n;
      }
      EXPECT_TRUE(std::isnan(out.At(r, 3)));
    }
  }
}

TEST(CpuKernelChoiceTest, RefusesByName) {
  CpuBackendOptions options;
  options.attention = SmallShape();
  options.kernel = "sse9";
  EXPECT_EQ(CreateCpuBackend(options).status().code(), absl::StatusCode::kInvalidArgument);
  options.kernel = "avx512bf16";
  options.dtype = DType::kF32;
  EXPECT_EQ(CreateCpuBackend(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CpuKernelChoiceTest, NumericsNameKernelAndDtype) {
  std::vector<std::string> seen;
  for (const Numerics& numerics : AvailableNumerics()) {
    const std::string name = MakeBackend(numerics, 1)->numerics();
    EXPECT_THAT(name, testing::HasSubstr(numerics.kernel));
    EXPECT_THAT(name, testing::HasSubstr(NameOf(numerics.dtype)));
    EXPECT_THAT(seen, testing::Not(testing::Contains(name)));
    seen.push_back(name);
  }
  EXPECT_EQ(MakeBackend({"auto", DType::kF32}, 1)->numerics(),
            MakeBackend({AvailableKernels(DType::kF32)[0], DType::kF32}, 1)->numerics());
}

// Where the arithmetic is the same fma by fma, so are the bits.
TEST(CpuKernelChoiceTest, Avx512GivesTheBitsOfAvx2) {
  const auto product = [](const Numerics& numerics) {
    const std::unique_ptr<Backend> backend = MakeBackend(numerics, 1);
    const Matrix w = Matrix::Normal(50, 70, numerics.dtype, 1);
    Matrix x = Matrix::Normal(30, 70, DType::kF32, 2);
    Matrix out(30, 50, DType::kF32);
    backend->Matmul(out.tensor(), x.tensor(), backend->Pack({{w.host()}}));
    return out.bytes();
  };
  for (const DType dtype : {DType::kBf16, DType::kF32}) {
    const std::vector<std::string> available = AvailableKernels(dtype);
    if (std::find(available.begin(), available.end(), "avx512") == available.end()) {
      GTEST_SKIP() << "this CPU has no AVX-512";
    }
    EXPECT_EQ(product({"avx512", dtype}), product({"avx2", dtype}));
  }
}

}  // namespace
}  // namespace kvasir
