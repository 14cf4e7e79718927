#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "engine/backend/cuda/kernels.h"
#include "engine/backend/rope_table.h"
#include "engine/batch.h"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

double Bf16At(const std::vector<bf16>& values, size_t i) { return FromBf16(values[i]); }

TEST(EmbedTest, TakesRowsOfTheTableAndOfTheStepBefore) {
  constexpr int kVocab = 11;
  constexpr int kHidden = 40;
  const std::vector<bf16> table = NormalBf16(kVocab * kHidden, 1);
  const std::vector<int> tokens = {3, -1, 10, -2, 0};
  const std::vector<int> sampled = {7, 4};
  const std::vector<int> expected = {3, 7, 10, 4, 0};
  const DeviceArray<bf16> table_on(table);
  const DeviceArray<int> tokens_on(tokens), sampled_on(sampled);
  ForEachSchedule([&] {
    const DeviceArray<float> x(tokens.size() * kHidden);
    ASSERT_EQ(Embed(x.get(), table_on.get(), tokens_on.get(), sampled_on.get(),
                    static_cast<int>(tokens.size()), kHidden, nullptr),
              cudaSuccess);
    const std::vector<float> out = x.Read();
    for (size_t t = 0; t < tokens.size(); ++t) {
      for (int i = 0; i < kHidden; ++i) {
        ASSERT_EQ(out[t * kHidden + i], Bf16At(table, size_t(expected[t]) * kHidden + i));
      }
    }
  });
}

// The sum of n squares has a relative error of n roundings at most, its root half of that; scale,
// weight and the output's bf16 add a rounding each.
void CheckAddRmsNorm(int rows, int n, bool adds) {
  SCOPED_TRACE(testing::Message() << rows << " x " << n << (adds ? " with x" : ""));
  constexpr float kEps = 1e-3f;
  const std::vector<float> residual = NormalFloats(size_t(rows) * n, 1, 3.0f);
  const std::vector<float> x = NormalFloats(size_t(rows) * n, 2);
  const std::vector<float> w = NormalFloats(n, 3);
  const DeviceArray<float> x_on(x), w_on(w), residual_on(residual);
  const DeviceArray<bf16> out_on(residual.size());
  ASSERT_EQ(AddRmsNorm(out_on.get(), residual_on.get(), adds ? x_on.get() : nullptr, w_on.get(),
                       rows, n, kEps, nullptr),
            cudaSuccess);
  const std::vector<bf16> out = out_on.Read();
  const std::vector<float> stream = residual_on.Read();
  for (int r = 0; r < rows; ++r) {
    double squares = 0;
    for (int i = 0; i < n; ++i) {
      const size_t at = size_t(r) * n + i;
      ASSERT_EQ(stream[at], adds ? residual[at] + x[at] : residual[at]);
      squares += double(stream[at]) * stream[at];
    }
    const double scale = 1 / std::sqrt(squares / n + kEps);
    for (int i = 0; i < n; ++i) {
      const size_t at = size_t(r) * n + i;
      const double expected = stream[at] * scale * w[i];
      const double tolerance = std::abs(expected) * (kBf16Rounding + (0.5 * n + 6) * kF32Rounding);
      ASSERT_LE(std::abs(Bf16At(out, at) - expected), tolerance * 1.01) << r << " " << i;
    }
  }
}

TEST(AddRmsNormTest, AgreesWithDoublePrecision) {
  ForEachSchedule([] {
    CheckAddRmsNorm(1, 8, false);
    CheckAddRmsNorm(3, 40, true);
    CheckAddRmsNorm(2, 1032, true);
  });
}

TEST(AddRmsNormTest, RandomShapesAgreeWithDoublePrecision) {
  std::mt19937 random(4);
  ForEachSchedule([&] {
    for (int i = 0; i < 20; ++i) {
      const int rows = 1 + static_cast<int>(random() % 5);
      const int n = 8 * (1 + static_cast<int>(random() % 300));
      CheckAddRmsNorm(rows, n, random() % 2 == 0);
    }
  });
}

TEST(AddRmsNormTest, RowDoesNotDependOnTheOthers) {
  constexpr int kRows = 5;
  constexpr int kN = 192;
  const std::vector<float> residual = NormalFloats(kRows * kN, 1);
  const DeviceArray<float> w(NormalFloats(kN, 3));
  const DeviceArray<float> all(residual);
  const DeviceArray<bf16> out_all(kRows * kN);
  ASSERT_EQ(AddRmsNorm(out_all.get(), all.get(), nullptr, w.get(), kRows, kN, 1e-6f, nullptr),
            cudaSuccess);
  const std::vector<bf16> expected = out_all.Read();
  for (int r = 0; r < kRows; ++r) {
    const DeviceArray<float> one(
        std::vector<float>(residual.begin() + r * kN, residual.begin() + (r + 1) * kN));
    const DeviceArray<bf16> out_one(kN);
    ASSERT_EQ(AddRmsNorm(out_one.get(), one.get(), nullptr, w.get(), 1, kN, 1e-6f, nullptr),
              cudaSuccess);
    const std::vector<bf16> out = out_one.Read();
    for (int i = 0; i < kN; ++i) ASSERT_EQ(Bf16At(out, i), Bf16At(expected, r * kN + i));
  }
}

std::vector<double2> OnDevice(const std::vector<RopeTable::Angle>& angles) {
  std::vector<double2> values;
  values.reserve(angles.size());
  for (const RopeTable::Angle& angle : angles) values.push_back(make_double2(angle.cos, angle.sin));
  return values;
}

TEST(RopeAnglesTest, AgreesWithTheTable) {
  constexpr int kHalf = 64;
  constexpr int kPositions = 262144;
  RopeTable table(5e6, 2 * kHalf);
  const DeviceArray<double2> coarse(OnDevice(table.CoarseUpTo(kPositions)));
  const DeviceArray<double2> fine(OnDevice(table.fine()));
  const std::vector<int> positions = {0, 1, 255, 256, 257, 4095, 100'000, kPositions - 1};
  const int rows = static_cast<int>(positions.size());
  const DeviceArray<int> positions_on(positions);
  std::vector<float> cos(rows * kHalf), sin(rows * kHalf);
  table.Fill(positions.data(), rows, cos.data(), sin.data());
  const DeviceArray<float> cos_on(cos.size()), sin_on(sin.size());
  ASSERT_EQ(RopeAngles(cos_on.get(), sin_on.get(), positions_on.get(), coarse.get(), fine.get(),
                       rows, kHalf, nullptr),
            cudaSuccess);
  const std::vector<float> cos_out = cos_on.Read();
  const std::vector<float> sin_out = sin_on.Read();
  for (int i = 0; i < rows * kHalf; ++i) {
    // A GPU may join the product and the difference into one rounding.
    const int t = i / kHalf;
    ASSERT_NEAR(cos_out[i], cos[i], 2 * kF32Rounding) << positions[t];
    ASSERT_NEAR(sin_out[i], sin[i], 2 * kF32Rounding) << positions[t];
  }
}

// Angles in f64 from nothing but their definition, at positions as they come.
TEST(RopeAnglesTest, RandomPositionsAgreeWithDoublePrecision) {
  std::mt19937 random(5);
  ForEachSchedule([&] {
    const int half = 8 << random() % 4;
    const double theta = random() % 2 == 0 ? 1e6 : 5e6;
    constexpr int kPositions = 262144;
    RopeTable table(theta, 2 * half);
    const DeviceArray<double2> coarse(OnDevice(table.CoarseUpTo(kPositions)));
    const DeviceArray<double2> fine(OnDevice(table.fine()));
    std::vector<int> positions(1 + random() % 40);
    for (int& position : positions) position = static_cast<int>(random() % kPositions);
    const int rows = static_cast<int>(positions.size());
    const DeviceArray<int> positions_on(positions);
    const DeviceArray<float> cos_on(size_t(rows) * half), sin_on(size_t(rows) * half);
    ASSERT_EQ(RopeAngles(cos_on.get(), sin_on.get(), positions_on.get(), coarse.get(), fine.get(),
                         rows, half, nullptr),
              cudaSuccess);
    const std::vector<float> cos = cos_on.Read(), sin = sin_on.Read();
    for (int i = 0; i < rows * half; ++i) {
      // A frequency of at most 1 is off by 2^-52, an angle of at most 2^18 by 2^-34, here and
      // there; then one rounding to f32, of a GPU two.
      const double angle = positions[i / half] * std::pow(theta, -double(i % half) / half);
      ASSERT_NEAR(cos[i], std::cos(angle), 2 * kF32Rounding + 0x1p-33) << positions[i / half];
      ASSERT_NEAR(sin[i], std::sin(angle), 2 * kF32Rounding + 0x1p-33) << positions[i / half];
    }
  });
}

struct RopeShape {
  int rows, heads, kv_heads, head_dim;
};

// Values from one block to the next: there are two layers, ours the second.
int BlockStride(const RopeShape& s) { return 2 * s.kv_heads * 2 * kBlockTokens * s.head_dim; }
// Where element i of token `slot`'s K (0) or V (1) lies in the pool.
size_t PoolIndex(const RopeShape& s, int slot, int head, int part, int i) {
  return size_t(slot / kBlockTokens) * BlockStride(s) + BlockStride(s) / 2 +
         ((head * 2 + part) * kBlockTokens + slot % kBlockTokens) * s.head_dim + i;
}

// slots: of each row; negative: its K and V go nowhere.
void CheckNormRopeStore(const RopeShape& s, const std::vector<int>& positions,
                        const std::vector<int>& slots, int blocks) {
  SCOPED_TRACE(testing::Message() << s.rows << " rows, " << s.heads << " + " << s.kv_heads
                                  << " heads of " << s.head_dim);
  constexpr float kEps = 1e-6f;
  const int heads = s.heads + 2 * s.kv_heads;
  const int half = s.head_dim / 2;
  const std::vector<float> qkv = NormalFloats(size_t(s.rows) * heads * s.head_dim, 1, 2.0f);
  const std::vector<float> q_norm = NormalFloats(s.head_dim, 2),
                           k_norm = NormalFloats(s.head_dim, 3);
  std::vector<float> cos(s.rows * half), sin(s.rows * half);
  RopeTable(1e4, s.head_dim).Fill(positions.data(), s.rows, cos.data(), sin.data());
  const DeviceArray<float> qkv_on(qkv), q_norm_on(q_norm), k_norm_on(k_norm), cos_on(cos),
      sin_on(sin);
  const DeviceArray<int> slots_on(slots);
  const DeviceArray<bf16> pool_on(size_t(blocks) * BlockStride(s));
  ASSERT_EQ(NormRopeStore(
                {.qkv = qkv_on.get(),
                 .q_norm = q_norm_on.get(),
                 .k_norm = k_norm_on.get(),
                 .cos = cos_on.get(),
                 .sin = sin_on.get(),
                 .slots = slots_on.get(),
                 .kv = {pool_on.get() + BlockStride(s) / 2, s.kv_heads, s.head_dim, BlockStride(s)},
                 .rows = s.rows,
                 .heads = s.heads,
                 .eps = kEps},
                nullptr),
            cudaSuccess);
  const std::vector<float> out = qkv_on.Read();
  const std::vector<bf16> pool = pool_on.Read();
  const std::set<int> written(slots.begin(), slots.end());
  for (int slot = 0; slot < blocks * kBlockTokens; ++slot) {
    if (written.count(slot) > 0) continue;
    for (int i = 0; i < 2 * s.kv_heads * s.head_dim; ++i) {  // NaN still
      ASSERT_TRUE(std::isnan(Bf16At(
          pool, PoolIndex(s, slot, i / s.head_dim / 2, i / s.head_dim % 2, i % s.head_dim))));
    }
  }
  for (int t = 0; t < s.rows; ++t) {
    for (int h = 0; h < heads; ++h) {
      const float* from = qkv.data() + (size_t(t) * heads + h) * s.head_dim;
      const float* to = out.data() + (size_t(t) * heads + h) * s.head_dim;
      const int kv_head = (h - s.heads) % s.kv_heads;
      if (h >= s.heads && slots[t] < 0) continue;
      if (h >= s.heads + s.kv_heads) {  // v: rounded, nothing else
        for (int i = 0; i < s.head_dim; ++i) {
          ASSERT_EQ(Bf16At(pool, PoolIndex(s, slots[t], kv_head, 1, i)), FromBf16(ToBf16(from[i])));
        }
        continue;
      }
      double squares = 0;
      for (int i = 0; i < s.head_dim; ++i) squares += double(from[i]) * from[i];
      const double scale = 1 / std::sqrt(squares / s.head_dim + kEps);
      const std::vector<float>& w = h < s.heads ? q_norm : k_norm;
      for (int i = 0; i < half; ++i) {
        const double a = from[i] * scale * w[i];
        const double b = from[i + half] * scale * w[i + half];
        const double c = cos[t * half + i];
        const double d = sin[t * half + i];
        // As in AddRmsNorm, then two products and a sum.
        const double relative = (0.5 * s.head_dim + 9) * kF32Rounding;
        const double expected[] = {a * c - b * d, b * c + a * d};
        const double magnitude[] = {std::abs(a * c) + std::abs(b * d),
                                    std::abs(b * c) + std::abs(a * d)};
        for (int part = 0; part < 2; ++part) {
          const int at = i + part * half;
          if (h < s.heads) {
            ASSERT_LE(std::abs(to[at] - expected[part]), relative * magnitude[part]);
          } else {
            const double stored = Bf16At(pool, PoolIndex(s, slots[t], kv_head, 0, at));
            ASSERT_LE(
                std::abs(stored - expected[part]),
                1.01 * (relative * magnitude[part] + kBf16Rounding * std::abs(expected[part])));
          }
        }
      }
    }
  }
}

void CheckNormRopeStore(const RopeShape& s) {
  constexpr int kBlocks = 4;
  std::vector<int> positions, slots;
  for (int t = 0; t < s.rows; ++t) {
    positions.push_back(5 + 37 * t);
    slots.push_back(t == 1 ? -1 : (3 + 17 * t) % (kBlocks * kBlockTokens));
  }
  CheckNormRopeStore(s, positions, slots, kBlocks);
}

TEST(NormRopeStoreTest, AgreesWithDoublePrecision) {
  ForEachSchedule([] {
    CheckNormRopeStore({1, 2, 1, 16});
    CheckNormRopeStore({3, 12, 4, 32});
    CheckNormRopeStore({2, 5, 1, 64});
    CheckNormRopeStore({3, 4, 2, 128});
  });
}

// Slots of any order, at the edges of blocks too, some rows or all of them with none.
TEST(NormRopeStoreTest, RandomShapesAgreeWithDoublePrecision) {
  constexpr int kBlocks = 6;
  std::mt19937 random(6);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  ForEachSchedule([&] {
    for (int i = 0; i < 12; ++i) {
      const int kv_heads = 1 + below(3);
      const RopeShape shape = {1 + below(24), kv_heads * (1 + below(4)), kv_heads, 16 << below(4)};
      std::vector<int> slots(kBlocks * kBlockTokens), positions(shape.rows);
      std::iota(slots.begin(), slots.end(), 0);
      std::shuffle(slots.begin(), slots.end(), random);
      slots.resize(shape.rows);
      if (below(2)) slots[0] = below(2) ? kBlockTokens - 1 : (kBlocks - 1) * kBlockTokens;
      for (int t = 1; t < shape.rows; ++t) {
        if (slots[t] == slots[0] || below(4) == 0) slots[t] = -1;
      }
      if (i == 3) slots.assign(shape.rows, -1);
      for (int& position : positions) position = below(262144);
      CheckNormRopeStore(shape, positions, slots, kBlocks);
    }
  });
}

TEST(NormRopeStoreTest, RefusesOtherHeadDims) {
  EXPECT_EQ(NormRopeStore({.kv = {nullptr, 1, 24}, .rows = 1, .heads = 1}, nullptr),
            cudaErrorInvalidValue);
}

float ValueOf(float v) { return v; }
float ValueOf(bf16 v) { return FromBf16(v); }

// gate_up: [3, 2 * 56]
template <class T>
void CheckSiluMul(const std::vector<T>& gate_up) {
  constexpr int kRows = 3;
  constexpr int kFfn = 56;
  const DeviceArray<T> gate_up_on(gate_up);
  ForEachSchedule([&] {
    const DeviceArray<bf16> out_on(kRows * kFfn);
    ASSERT_EQ(SiluMul(out_on.get(), gate_up_on.get(), kRows, kFfn, nullptr), cudaSuccess);
    const std::vector<bf16> out = out_on.Read();
    for (int i = 0; i < kRows * kFfn; ++i) {
      const size_t at = size_t(i / 8) * 16 + i % 8;
      const double gate = ValueOf(gate_up[at]);
      const double expected = gate / (1 + std::exp(-gate)) * ValueOf(gate_up[at + 8]);
      // expf within 2 units, a sum, a quotient, a product; bf16. Below 2^-126 f32 has less.
      const double tolerance = std::abs(expected) * (kBf16Rounding + 8 * kF32Rounding) + 0x1p-126;
      ASSERT_LE(std::abs(Bf16At(out, i) - expected), tolerance * 1.01) << i << " gate " << gate;
    }
  });
}

TEST(SiluMulTest, AgreesWithDoublePrecision) {
  std::vector<float> gate_up = NormalFloats(3 * 2 * 56, 1, 4.0f);
  gate_up[0] = -200;  // exp(200) is infinite in f32, silu is not
  gate_up[1] = 200;
  CheckSiluMul(gate_up);
  std::vector<bf16> rounded;
  for (const float v : gate_up) rounded.push_back(ToBf16(v));
  CheckSiluMul(rounded);
}

TEST(GatherRowsTest, CopiesTheWantedRows) {
  constexpr int kN = 48;
  const std::vector<bf16> x = NormalBf16(7 * kN, 1);
  const std::vector<int> rows = {6, 0, 3};
  const DeviceArray<bf16> x_on(x);
  const DeviceArray<int> rows_on(rows);
  ForEachSchedule([&] {
    const DeviceArray<bf16> out_on(rows.size() * kN);
    ASSERT_EQ(GatherRows(out_on.get(), x_on.get(), rows_on.get(), 3, kN, nullptr), cudaSuccess);
    const std::vector<bf16> out = out_on.Read();
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(Bf16At(out, i), Bf16At(x, size_t(rows[i / kN]) * kN + i % kN));
    }
  });
}

}  // namespace
}  // namespace kvasir::cuda
