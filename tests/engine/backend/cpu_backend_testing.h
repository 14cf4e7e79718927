#ifndef KVASIR_TESTS_ENGINE_BACKEND_CPU_BACKEND_TESTING_H_
#define KVASIR_TESTS_ENGINE_BACKEND_CPU_BACKEND_TESTING_H_

#include <cstdint>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/kernel_choice.h"
#include "engine/check.h"
#include "gtest/gtest.h"

namespace kvasir {

// Half of a unit in the last place, relative: the error of one rounding.
inline constexpr double kF32Rounding = 0x1p-24;
inline constexpr double kBf16Rounding = 0x1p-8;

// One arithmetic of the CPU backend.
struct Numerics {
  std::string kernel;
  DType dtype = DType::kBf16;
};
inline std::ostream& operator<<(std::ostream& out, const Numerics& n) {
  return out << n.kernel << "_" << NameOf(n.dtype);
}

// All that this machine can run.
inline std::vector<Numerics> AvailableNumerics() {
  std::vector<Numerics> all;
  for (const DType dtype : {DType::kBf16, DType::kF32}) {
    for (const std::string& kernel : AvailableKernels(dtype)) all.push_back({kernel, dtype});
  }
  return all;
}

inline AttentionShape SmallShape() { return {4, 2, 32, 10000.0, 1e-6f}; }

inline std::unique_ptr<Backend> MakeBackend(const Numerics& numerics, int threads,
                                            const AttentionShape& shape = SmallShape()) {
  absl::StatusOr<std::unique_ptr<Backend>> backend =
      CreateCpuBackend({shape, numerics.dtype, threads, numerics.kernel});
  KVASIR_CHECK(backend.ok());
  return *std::move(backend);
}

// Row-major [rows, cols] in a dtype, with the values that it really holds. Its memory ends with its
// last element, so that AddressSanitizer sees a step too far.
class Matrix {
 public:
  Matrix(int rows, int cols, DType dtype)
      : rows_(rows), cols_(cols), dtype_(dtype), bytes_(size_t(rows) * cols * SizeOf(dtype)) {}

  static Matrix Normal(int rows, int cols, DType dtype, uint32_t seed, float scale = 1.0f) {
    Matrix matrix(rows, cols, dtype);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) matrix.Set(r, c, normal(random));
    }
    return matrix;
  }

  void Set(int row, int col, float value) {
    KVASIR_CHECK(dtype_ != DType::kF16);
    if (dtype_ == DType::kF32) {
      As<float>()[Index(row, col)] = value;
    } else {
      As<BFloat16>()[Index(row, col)] = ToBFloat16(value);
    }
  }
  float At(int row, int col) const {
    return dtype_ == DType::kF32 ? As<float>()[Index(row, col)]
                                 : ToFloat(As<BFloat16>()[Index(row, col)]);
  }

  Tensor tensor() { return {bytes_.data(), dtype_, rows_, cols_}; }
  HostMatrix host() const { return {bytes_.data(), dtype_, rows_, cols_}; }
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  std::vector<char>& bytes() { return bytes_; }
  // The bytes of one row.
  std::string Row(int row) const {
    const size_t size = cols_ * SizeOf(dtype_);
    return {bytes_.data() + row * size, size};
  }

 private:
  template <typename T>
  T* As() {
    return reinterpret_cast<T*>(bytes_.data());
  }
  template <typename T>
  const T* As() const {
    return reinterpret_cast<const T*>(bytes_.data());
  }
  size_t Index(int row, int col) const { return size_t(row) * cols_ + col; }

  int rows_;
  int cols_;
  DType dtype_;
  std::vector<char> bytes_;
};

// A batch of one sequence, for the verbs that look at rows alone.
inline Batch PlainBatch(const std::vector<int>& tokens, const std::vector<int>& positions) {
  Batch batch;
  batch.Clear();
  batch.tokens = tokens;
  batch.positions = positions;
  for (size_t i = 0; i < tokens.size(); ++i) batch.slots.push_back(static_cast<int>(i));
  batch.query_start.push_back(static_cast<int>(tokens.size()));
  batch.context_length = {positions.back() + 1};
  batch.max_blocks = 1;
  batch.block_table = {0};
  return batch;
}

class CpuNumericsTest : public testing::TestWithParam<Numerics> {};

#define KVASIR_INSTANTIATE_NUMERICS(Suite)                                     \
  INSTANTIATE_TEST_SUITE_P(Cpu, Suite, testing::ValuesIn(AvailableNumerics()), \
                           [](const testing::TestParamInfo<Numerics>& info) {  \
                             return testing::PrintToString(info.param);        \
                           })

}  // namespace kvasir

#endif  // KVASIR_TESTS_ENGINE_BACKEND_CPU_BACKEND_TESTING_H_
