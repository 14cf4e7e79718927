// The products of the library that is installed, on the GPU at hand, against f64.
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "engine/backend/cuda/cublaslt_api.h"
#include "engine/backend/cuda/cublaslt_matmul.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

constexpr int kOutputs = 4000;  // of a product that are looked at
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

struct Shape {
  int m, n, k;
};

class InstalledCublasLt : public testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<CublasLtApi> api = LoadCublasLt();
    ASSERT_TRUE(api.ok()) << api.status();
    auto matmul = CublasLtMatmul::Create(*api, workspace_.get(), workspace_.bytes());
    ASSERT_TRUE(matmul.ok()) << matmul.status();
    matmul_ = *std::move(matmul);
  }

  // By the algorithm that is chosen by timing, or by the library's own first choice.
  void Check(const Shape& shape, bool tuned) {
    SCOPED_TRACE(testing::Message() << "M " << shape.m << " N " << shape.n << " K " << shape.k
                                    << (tuned ? " tuned" : ""));
    const auto [m, n, k] = shape;
    const std::vector<bf16> x = NormalBf16(size_t(m) * k, 1);
    const std::vector<bf16> w = NormalBf16(size_t(n) * k, 2);
    const DeviceArray<bf16> device_x(x), device_w(w);
    const DeviceArray<float> out(size_t(m) * n);
    const MatmulArgs args = {
        .x = device_x.get(), .w = device_w.get(), .m = m, .n = n, .k = k, .out = out.get()};
    if (tuned) (void)matmul_->Tune({&args, 1}, 3, nullptr);
    ASSERT_EQ(matmul_->Run(args, nullptr), absl::OkStatus());
    const std::vector<float> values = out.Read();
    std::mt19937 random(3);
    for (int i = 0; i < kOutputs; ++i) {
      const size_t at = random() % values.size();
      const bf16* const row = &x[at / n * k];
      const bf16* const column = &w[at % n * k];
      double sum = 0, magnitude = 0;
      for (int j = 0; j < k; ++j) {
        const double product = double(FromBf16(row[j])) * FromBf16(column[j]);
        sum += product;
        magnitude += std::abs(product);
      }
      // K roundings of the sum of magnitudes, twice over as tensor cores cut where a CPU rounds.
      ASSERT_LE(std::abs(values[at] - sum), 2 * k * kF32Rounding * magnitude) << at;
    }
  }

 private:
  DeviceArray<char> workspace_{kWorkspaceBytes};
  std::unique_ptr<CublasLtMatmul> matmul_;
};

TEST_F(InstalledCublasLt, AgreesWithDoublePrecision) {
  for (const Shape& shape : {Shape{9, 16, 8}, {17, 40, 264}, {33, 24, 48}, {300, 136, 520}}) {
    Check(shape, false);
    Check(shape, true);
  }
}

// Those of a layer of Qwen3-4B: of a decode of 64 and of a prompt.
TEST_F(InstalledCublasLt, MultipliesAtRealShapes) {
  for (const int rows : {16, 64, 500}) {
    for (const auto& [n, k] : {std::pair{6144, 2560}, {2560, 4096}, {2560, 9728}}) {
      Check({rows, n, k}, true);
    }
  }
}

}  // namespace
}  // namespace kvasir::cuda
