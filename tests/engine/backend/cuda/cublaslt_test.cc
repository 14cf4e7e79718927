#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend/cuda/cublaslt_api.h"
#include "engine/backend/cuda/cublaslt_matmul.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/cuda/device_testing.h"
#include "tests/engine/backend/cuda/emulated_cublaslt.h"

namespace kvasir::cuda {
namespace {

TEST(CublasLtApiTest, MissingLibraryIsNamedInOneLine) {
  const absl::StatusOr<CublasLtApi> api =
      LoadCublasLt(std::vector<const char*>{"libkvasir-none.so.13", "libkvasir-none.so.12"});
  ASSERT_FALSE(api.ok());
  EXPECT_EQ(api.status().code(), absl::StatusCode::kNotFound);
  const std::string message(api.status().message());
  EXPECT_NE(message.find("cuBLASLt"), std::string::npos) << message;
  EXPECT_NE(message.find("libkvasir-none.so.13"), std::string::npos) << message;
  EXPECT_NE(message.find("libkvasir-none.so.12"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(CublasLtApiTest, MissingFunctionIsNamed) {
  const absl::StatusOr<CublasLtApi> api = LoadCublasLt(std::vector<const char*>{"libc.so.6"});
  EXPECT_EQ(api.status(), absl::NotFoundError("libc.so.6 lacks cublasLtGetVersion"));
}

// Operands on the device, and what they give in f64.
class Product {
 public:
  Product(int m, int n, int k)
      : m_(m),
        n_(n),
        k_(k),
        x_(NormalBf16(size_t(m) * k, 1)),
        w_(NormalBf16(size_t(n) * k, 2)),
        device_x_(x_),
        device_w_(w_),
        out_(size_t(m) * n),
        rounded_(size_t(m) * n) {}

  MatmulArgs args() const {
    return {
        .x = device_x_.get(), .w = device_w_.get(), .m = m_, .n = n_, .k = k_, .out = out_.get()};
  }
  // The same to be added to what is there, or rounded.
  MatmulArgs added() const {
    MatmulArgs args = this->args();
    args.add = true;
    return args;
  }
  MatmulArgs rounded() const {
    MatmulArgs args = this->args();
    args.out = nullptr;
    args.rounded = rounded_.get();
    return args;
  }
  std::vector<float> Out() const { return out_.Read(); }
  std::vector<bf16> Rounded() const { return rounded_.Read(); }
  // K roundings of the sum of magnitudes, twice over as tensor cores cut where a CPU rounds.
  void ExpectRight() const {
    const std::vector<float> out = out_.Read();
    for (int m = 0; m < m_; ++m) {
      for (int n = 0; n < n_; ++n) {
        double sum = 0, magnitude = 0;
        for (int i = 0; i < k_; ++i) {
          const double product =
              double(FromBf16(x_[size_t(m) * k_ + i])) * FromBf16(w_[size_t(n) * k_ + i]);
          sum += product;
          magnitude += std::abs(product);
        }
        ASSERT_LE(std::abs(out[size_t(m) * n_ + n] - sum), 2 * k_ * kF32Rounding * magnitude)
            << "row " << m << " column " << n;
      }
    }
  }
  void Forget() { out_.Write(std::vector<float>(out_.size(), NAN)); }

 private:
  int m_, n_, k_;
  std::vector<bf16> x_, w_;
  DeviceArray<bf16> device_x_, device_w_;
  DeviceArray<float> out_;
  DeviceArray<bf16> rounded_;
};

class CublasLtMatmulTest : public testing::Test {
 protected:
  void SetUp() override {
    CublasLtCounts() = {};
    auto matmul = CublasLtMatmul::Create(EmulatedCublasLt(), workspace_.get(), workspace_.bytes());
    ASSERT_TRUE(matmul.ok()) << matmul.status();
    matmul_ = std::move(*matmul);
  }

  DeviceArray<char> workspace_{1 << 12};
  std::unique_ptr<CublasLtMatmul> matmul_;
};

TEST_F(CublasLtMatmulTest, AgreesWithDoublePrecision) {
  ForEachSchedule([&] {
    for (const auto& [m, n, k] : {std::tuple{1, 4, 8}, {9, 12, 40}, {33, 20, 264}, {5, 64, 16}}) {
      SCOPED_TRACE(testing::Message() << "M " << m << " N " << n << " K " << k);
      const Product product(m, n, k);
      EXPECT_EQ(matmul_->Run(product.args(), nullptr), absl::OkStatus());
      product.ExpectRight();
    }
  });
}

TEST_F(CublasLtMatmulTest, TuningFindsTheFastestOfThoseThatWork) {
  ForEachSchedule([&] {
    Product product(16, 32, 64);
    const std::vector<MatmulArgs> products = {product.args()};
    matmul_->Tune(products, 5, nullptr);
    product.Forget();
    ASSERT_EQ(matmul_->Run(product.args(), nullptr), absl::OkStatus());
    EXPECT_EQ(CublasLtCounts().last_algorithm, EmulatedAlgorithm::kFast);
    product.ExpectRight();
  });
}

TEST_F(CublasLtMatmulTest, TuningSweepsTheEvictorBeforeItsRuns) {
  Product product(16, 32, 64);
  const std::vector<MatmulArgs> products = {product.args()};
  DeviceArray<uint32_t> evictor(std::vector<uint32_t>(64, 7));
  matmul_->set_evictor(evictor.get(), evictor.bytes());
  matmul_->Tune(products, 1, nullptr);
  EXPECT_EQ(evictor.Read(), std::vector<uint32_t>(64, 0));
}

TEST_F(CublasLtMatmulTest, ProductsOfAKindShareTheirAlgorithm) {
  const Product tuned(16, 8, 16), smaller(9, 8, 16), larger(17, 8, 16), other(16, 8, 24);
  const std::vector<MatmulArgs> products = {tuned.args()};
  matmul_->Tune(products, 1, nullptr);
  EXPECT_EQ(CublasLtCounts().heuristics, 1);
  for (const Product* product : {&tuned, &smaller}) {
    EXPECT_EQ(matmul_->Run(product->args(), nullptr), absl::OkStatus());
    EXPECT_EQ(CublasLtCounts().last_algorithm, EmulatedAlgorithm::kFast);
    product->ExpectRight();
  }
  EXPECT_EQ(CublasLtCounts().heuristics, 1);
  // Without tuning the library's first choice, which is asked for once.
  for (const Product* product : {&larger, &other, &larger, &other}) {
    EXPECT_EQ(matmul_->Run(product->args(), nullptr), absl::OkStatus());
    EXPECT_EQ(CublasLtCounts().last_algorithm, EmulatedAlgorithm::kSlow);
    product->ExpectRight();
  }
  EXPECT_EQ(CublasLtCounts().heuristics, 3);
}

// The library's epilogues: its result is added where it belongs, or rounded.
TEST_F(CublasLtMatmulTest, AddsAndRounds) {
  ForEachSchedule([&] {
    const Product product(16, 32, 64);
    ASSERT_EQ(matmul_->Run(product.args(), nullptr), absl::OkStatus());
    const std::vector<float> out = product.Out();
    ASSERT_EQ(matmul_->Run(product.added(), nullptr), absl::OkStatus());
    ASSERT_EQ(matmul_->Run(product.rounded(), nullptr), absl::OkStatus());
    const std::vector<float> twice = product.Out();
    const std::vector<bf16> rounded = product.Rounded();
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(twice[i], 2 * out[i]);
      ASSERT_EQ(FromBf16(rounded[i]), FromBf16(ToBf16(out[i])));
    }
  });
  EXPECT_EQ(CublasLtCounts().heuristics, 3);  // they are of three kinds
}

TEST_F(CublasLtMatmulTest, WhatTheLibraryCannotDoIsLeftToTheCaller) {
  const Product product(4, 7, 16);
  const std::vector<MatmulArgs> products = {product.args()};
  matmul_->Tune(products, 1, nullptr);
  const absl::Status status = matmul_->Run(product.args(), nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(std::string(status.message()).find("N 7"), std::string::npos) << status;
  EXPECT_EQ(CublasLtCounts().products, 0);
  EXPECT_EQ(CublasLtCounts().heuristics, 1);
}

TEST_F(CublasLtMatmulTest, RefusedAlgorithmIsAStatus) {
  CublasLtApi api = EmulatedCublasLt();
  api.matmul = [](CublasLtHandle, CublasLtMatmulDesc, const void*, const void*, CublasLtLayout,
                  const void*, CublasLtLayout, const void*, const void*, CublasLtLayout, void*,
                  CublasLtLayout, const CublasLtAlgorithm*, void*, size_t,
                  cudaStream_t) { return kCublasNotSupported; };
  const auto matmul = CublasLtMatmul::Create(api, workspace_.get(), workspace_.bytes());
  ASSERT_TRUE(matmul.ok()) << matmul.status();
  const Product product(4, 8, 16);
  EXPECT_EQ((*matmul)->Run(product.args(), nullptr),
            absl::UnimplementedError("cublasLtMatmul: CUBLAS_STATUS_NOT_SUPPORTED"));
  const Product other(4, 8, 32);
  const std::vector<MatmulArgs> products = {other.args()};
  (*matmul)->Tune(products, 1, nullptr);
  EXPECT_EQ((*matmul)->Run(other.args(), nullptr).code(), absl::StatusCode::kUnimplemented);
}

// What fails once is not tried again, whatever it was: steps must not differ in what multiplies.
TEST_F(CublasLtMatmulTest, AFailureIsRemembered) {
  static int calls = 0;
  CublasLtApi api = EmulatedCublasLt();
  api.matmul = [](CublasLtHandle, CublasLtMatmulDesc, const void*, const void*, CublasLtLayout,
                  const void*, CublasLtLayout, const void*, const void*, CublasLtLayout, void*,
                  CublasLtLayout, const CublasLtAlgorithm*, void*, size_t,
                  cudaStream_t) { return ++calls == 1 ? 1 : kCublasSuccess; };
  const auto matmul = CublasLtMatmul::Create(api, workspace_.get(), workspace_.bytes());
  ASSERT_TRUE(matmul.ok()) << matmul.status();
  const Product product(4, 8, 16);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ((*matmul)->Run(product.args(), nullptr).code(), absl::StatusCode::kInternal);
  }
  EXPECT_EQ(calls, 1);
}

// A library that cannot even be asked leaves products to the caller as well.
TEST_F(CublasLtMatmulTest, FailedTuningIsAStatusOfTheProduct) {
  CublasLtApi api = EmulatedCublasLt();
  api.heuristic = [](CublasLtHandle, CublasLtMatmulDesc, CublasLtLayout, CublasLtLayout,
                     CublasLtLayout, CublasLtLayout, CublasLtPreference, int, CublasLtHeuristic*,
                     int*) { return 1; };
  const auto matmul = CublasLtMatmul::Create(api, workspace_.get(), workspace_.bytes());
  ASSERT_TRUE(matmul.ok()) << matmul.status();
  const Product product(4, 8, 16);
  const std::vector<MatmulArgs> products = {product.args()};
  (*matmul)->Tune(products, 1, nullptr);
  EXPECT_EQ((*matmul)->Run(product.args(), nullptr).code(), absl::StatusCode::kInternal);
}

TEST_F(CublasLtMatmulTest, FailedStartIsAStatus) {
  CublasLtApi api = EmulatedCublasLt();
  api.create = [](CublasLtHandle*) { return 1; };
  const auto matmul = CublasLtMatmul::Create(api, workspace_.get(), workspace_.bytes());
  EXPECT_EQ(matmul.status().code(), absl::StatusCode::kInternal);
}

TEST_F(CublasLtMatmulTest, CountsAreNominal) {
  const Product product(3, 8, 16);
  ASSERT_EQ(matmul_->Run(product.args(), nullptr), absl::OkStatus());
  EXPECT_EQ(CublasLtCounts().products, 1);
  EXPECT_EQ(CublasLtCounts().flops, 2 * 3 * 8 * 16);
  EXPECT_EQ(CublasLtCounts().bytes, (3 * 16 + 8 * 16) * 2 + 3 * 8 * 4);
}

}  // namespace
}  // namespace kvasir::cuda
