// The product by AMX tiles, on registers made of memory: what any CPU can show of it.
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "engine/backend/cpu/amx_matmul-inl.h"
#include "engine/backend/cpu/packed_weight.h"
#include "tests/engine/backend/cpu_backend_testing.h"

namespace kvasir {
namespace {

// TDPBF16PS as Intel's reference states it: even and odd k are summed apart, then added.
struct EmulatedTiles {
  struct Register {
    alignas(64) char row[16][64];
  };
  static inline std::array<Register, 8> tile;
  static inline bool configured = false;

  static void Configure() { configured = true; }
  static void Release() {
    KVASIR_CHECK(configured);
    configured = false;
    for (Register& t : tile) std::memset(t.row, 0xff, sizeof(t.row));
  }
  template <int kTile>
  static void Zero() {
    KVASIR_CHECK(configured);
    std::memset(tile[kTile].row, 0, sizeof(tile[kTile].row));
  }
  template <int kTile>
  static void Load(const void* from, size_t stride) {
    for (int r = 0; r < 16; ++r) {
      std::memcpy(tile[kTile].row[r], static_cast<const char*>(from) + r * stride, 64);
    }
  }
  template <int kTile>
  static void Store(void* to, size_t stride) {
    for (int r = 0; r < 16; ++r) {
      std::memcpy(static_cast<char*>(to) + r * stride, tile[kTile].row[r], 64);
    }
  }
  static float Element(const Register& t, int row, int i) {
    BFloat16 value;
    std::memcpy(&value, t.row[row] + 2 * i, 2);
    return ToFloat(value);
  }
  template <int kSums, int kA, int kB>
  static void Dot() {
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < 16; ++n) {
        float even = 0;
        float odd = 0;
        for (int k = 0; k < 16; ++k) {
          even = std::fma(Element(tile[kA], m, 2 * k), Element(tile[kB], k, 2 * n), even);
          odd = std::fma(Element(tile[kA], m, 2 * k + 1), Element(tile[kB], k, 2 * n + 1), odd);
        }
        float sum;
        std::memcpy(&sum, tile[kSums].row[m] + 4 * n, 4);
        sum += even + odd;
        std::memcpy(tile[kSums].row[m] + 4 * n, &sum, 4);
      }
    }
  }
};

// One call of M rows, cut into tasks of `tiles` row tiles and `panels` panels. Every buffer ends
// with its last element.
Matrix Multiply(const char* x, int rows, const PackedWeight& w, int tiles, int panels) {
  const int lines = PanelLines(w.cols, DType::kBf16);
  std::vector<char> tiled(amx::TiledBytes(rows, w.cols), '\xff');
  for (int begin = 0; begin < lines; begin += 7) {
    amx::TileRows({x, rows, w.cols, tiled.data()}, begin, std::min(lines, begin + 7));
  }
  const auto* packed = static_cast<const char*>(w.data->data());
  const std::vector<char> weights(packed, packed + size_t(PanelCount(w.rows)) * lines * 64);
  Matrix out(rows, w.rows, DType::kF32);
  const MatmulArgs args = {tiled.data(), rows, weights.data(), w.cols, out.tensor().as<float>(),
                           w.rows};
  for (int tile = 0; tile < amx::CountRowTiles(rows); tile += tiles) {
    for (int panel = 0; panel < PanelCount(w.rows); panel += panels) {
      amx::Matmul<EmulatedTiles>(args, tile, std::min(amx::CountRowTiles(rows), tile + tiles),
                                 panel, std::min(PanelCount(w.rows), panel + panels));
    }
  }
  return out;
}

TEST(AmxMatmulTest, AgreesWithDoublePrecision) {
  ThreadPool pool(1);
  struct Shape {
    int m, n, k;
  };
  for (const Shape s : {Shape{1, 1, 2},
                        {1, 16, 32},
                        {2, 17, 30},
                        {16, 33, 7},
                        {17, 48, 258},
                        {33, 95, 129},
                        {5, 40, 1100},
                        {40, 33, 1057}}) {
    SCOPED_TRACE(testing::Message() << "M " << s.m << " N " << s.n << " K " << s.k);
    const Matrix w = Matrix::Normal(s.n, s.k, DType::kBf16, 1);
    Matrix x = Matrix::Normal(s.m, s.k, DType::kBf16, 2);
    const Matrix out =
        Multiply(x.bytes().data(), s.m, PackWeight({{w.host()}}, DType::kBf16, pool), 3, 3);
    for (int r = 0; r < s.m; ++r) {
      for (int n = 0; n < s.n; ++n) {
        double expected = 0;
        double magnitude = 0;
        for (int k = 0; k < s.k; ++k) {
          const double product = double(x.At(r, k)) * w.At(n, k);
          expected += product;
          magnitude += std::abs(product);
        }
        ASSERT_LE(std::abs(out.At(r, n) - expected), (s.k + 2) * kF32Rounding * magnitude)
            << r << " " << n;
      }
    }
  }
}

TEST(AmxMatmulTest, RowDoesNotDependOnItsBatchNorOnTasks) {
  constexpr int kRows = 70;
  constexpr int kColumns = 50;
  constexpr int kK = 1030;
  ThreadPool pool(1);
  const PackedWeight w =
      PackWeight({{Matrix::Normal(kColumns, kK, DType::kBf16, 3).host()}}, DType::kBf16, pool);
  Matrix x = Matrix::Normal(kRows, kK, DType::kBf16, 4);
  const Matrix whole = Multiply(x.bytes().data(), kRows, w, 8, 8);
  std::mt19937 random(5);
  for (int row = 0; row < kRows;) {
    const int count = std::uniform_int_distribution<int>(1, kRows - row)(random);
    const Matrix part =
        Multiply(x.bytes().data() + size_t(row) * kK * 2, count, w, 1 + row % 3, 1 + row % 2);
    for (int i = 0; i < count; ++i, ++row) ASSERT_EQ(part.Row(i), whole.Row(row)) << row;
  }
}

// What pads rows and K never meets a weight that is no number.
TEST(AmxMatmulTest, NanStaysInItsColumn) {
  ThreadPool pool(1);
  Matrix w = Matrix::Normal(33, 34, DType::kBf16, 7);
  w.Set(16, 0, std::nanf(""));  // first in the second panel, right behind the first one's end
  Matrix x = Matrix::Normal(3, 34, DType::kBf16, 8);
  const Matrix out =
      Multiply(x.bytes().data(), 3, PackWeight({{w.host()}}, DType::kBf16, pool), 1, 2);
  for (int r = 0; r < 3; ++r) {
    for (int n = 0; n < 33; ++n) EXPECT_EQ(std::isnan(out.At(r, n)), n == 16) << r << " " << n;
  }
}

}  // namespace
}  // namespace kvasir
