// The one matrix product: rows of x times packed panels of 16 columns, here for q K^T and P V; for
// weights by matmul-inl.h, which shares MultiplyLine.
//
// Every element of the result is one f32 lane that takes the products in ascending order of k, so
// its bits depend neither on the tile that computes it nor on where the loop over k is cut.
// Compiled per kernel set.
#ifndef KVASIR_ENGINE_BACKEND_CPU_PANEL_PRODUCT_INL_H_
#define KVASIR_ENGINE_BACKEND_CPU_PANEL_PRODUCT_INL_H_

#include "engine/backend/cpu/simd.h"

namespace kvasir::KVASIR_KERNEL_SET {

inline constexpr size_t kLineBytes = 64;  // 16 columns x one k pair (bf16) or one k (f32)

// A dot policy says how one line of a panel meets its word or words (4 bytes) of a row of x.
#if defined(__AVX512BF16__)
// x in bf16 pairs, multiplied by vdpbf16ps.
struct PairDot {
  static constexpr int kWords = 1;
  struct Columns {
    __m512bh v;
  };
  static constexpr int kSteps = 1;
  template <int kStep>
  static KVASIR_INLINE Columns LoadColumns(const char* line) {
    return {(__m512bh)_mm512_loadu_si512(line)};
  }
  static KVASIR_INLINE Columns Broadcast(const float* word) {
    return {(__m512bh)_mm512_castps_si512(_mm512_set1_ps(*word))};
  }
  static KVASIR_INLINE F32x16 Multiply(Columns x, Columns w, F32x16 sum) {
    return {_mm512_dpbf16_ps(sum.v, x.v, w.v)};
  }
};
#endif

// x in f32, bf16 pairs widened in registers: one fma for k, then one for k + 1.
struct WidenedDot {
  static constexpr int kWords = 2;
  using Columns = F32x16;
  static constexpr int kSteps = 2;
  template <int kStep>
  static KVASIR_INLINE F32x16 LoadColumns(const char* line) {
    return kStep == 0 ? WidenLow(line) : WidenHigh(line);
  }
  static KVASIR_INLINE F32x16 Broadcast(const float* word) { return Set1(*word); }
  static KVASIR_INLINE F32x16 Multiply(F32x16 x, F32x16 w, F32x16 sum) { return Fma(x, w, sum); }
};

// x and panels in f32.
struct FloatDot {
  static constexpr int kWords = 1;
  using Columns = F32x16;
  static constexpr int kSteps = 1;
  template <int kStep>
  static KVASIR_INLINE F32x16 LoadColumns(const char* line) {
    return Load(reinterpret_cast<const float*>(line));
  }
  static KVASIR_INLINE F32x16 Broadcast(const float* word) { return Set1(*word); }
  static KVASIR_INLINE F32x16 Multiply(F32x16 x, F32x16 w, F32x16 sum) { return Fma(x, w, sum); }
};

// Where the panels lie: operator()(s, p) is panel p of segment s of the loop over k. Ahead(s, p) is
// what will be wanted next and is fetched meanwhile, at the same offsets.

// K of some blocks: a block is a panel, d is what is summed over. V of the blocks comes next.
struct KeyPanels {
  const char* const* keys;
  const char* const* values;
  KVASIR_INLINE const char* operator()(int, int p) const { return keys[p]; }
  KVASIR_INLINE const char* Ahead(int, int p) const { return values[p]; }
};
// V of some blocks: a block is a segment. K of other blocks comes next.
struct ValuePanels {
  const char* const* values;
  const char* const* next_keys;
  size_t stride;
  KVASIR_INLINE const char* operator()(int s, int p) const { return values[s] + p * stride; }
  KVASIR_INLINE const char* Ahead(int s, int p) const { return next_keys[s] + p * stride; }
};

template <class Panels>
struct Product {
  const float* x = nullptr;  // words
  size_t x_stride = 0;       // words
  Panels panels;
  int segments = 1;
  int lines = 0;  // of a segment
  float* out = nullptr;
  size_t out_stride = 0;
  int columns = 0;          // of out; the last panel's others are dropped
  bool accumulate = false;  // out holds the sums so far
};

// Accumulators that fit the registers, in vectors.
#if defined(__AVX512F__)
inline constexpr int kAccumulators = 24;
inline constexpr int kMaxPanels = 8;
#else
inline constexpr int kAccumulators = 6;
inline constexpr int kMaxPanels = 4;
#endif
inline constexpr int kTileRows = 6;
// As many panels, `most` at most, as fit beside each other; a power of two: the 8 blocks of an
// attention tile split evenly.
constexpr int TilePanels(int rows, int most = kMaxPanels) {
  int panels = most;
  while (panels * rows > kAccumulators) panels /= 2;
  return panels;
}

// A step of one line, all of the tile.
template <class Dot, int R, int P, int kStep>
KVASIR_INLINE void MultiplyStep(F32x16 (&sum)[R][P], const float* x, size_t x_stride,
                                const char* const (&panel)[P], size_t offset) {
  if constexpr (R >= P) {  // whichever is fewer stays in registers
    typename Dot::Columns w[P];
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) w[p] = Dot::template LoadColumns<kStep>(panel[p] + offset);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto word = Dot::Broadcast(x + r * x_stride + kStep);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) sum[r][p] = Dot::Multiply(word, w[p], sum[r][p]);
    }
  } else {
    typename Dot::Columns word[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) word[r] = Dot::Broadcast(x + r * x_stride + kStep);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      const auto w = Dot::template LoadColumns<kStep>(panel[p] + offset);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) sum[r][p] = Dot::Multiply(word[r], w, sum[r][p]);
    }
  }
}

// One line, all of the tile. Row r of x begins at x + r * x_stride, in words.
template <class Dot, int R, int P>
KVASIR_INLINE void MultiplyLine(F32x16 (&sum)[R][P], const float* x, size_t x_stride,
                                const char* const (&panel)[P], size_t offset) {
  MultiplyStep<Dot, R, P, 0>(sum, x, x_stride, panel, offset);
  if constexpr (Dot::kSteps == 2) MultiplyStep<Dot, R, P, 1>(sum, x, x_stride, panel, offset);
}

// Lines [begin, end), fetching A other panels at the same offsets.
template <class Dot, int R, int P, int A>
KVASIR_INLINE void MultiplyLines(F32x16 (&sum)[R][P], const float* x, size_t x_stride,
                                 const char* const (&panel)[P], const char* const* ahead, int begin,
                                 int end) {
  for (int line = begin; line < end; ++line) {
    const size_t offset = line * kLineBytes;
#pragma GCC unroll 8
    for (int a = 0; a < A; ++a) _mm_prefetch(ahead[a] + offset, _MM_HINT_T0);
    MultiplyLine<Dot>(sum, x + size_t(line) * Dot::kWords, x_stride, panel, offset);
  }
}

// How much of what comes next a tile fetches: where several row tiles pass by, each of the first
// two takes every other panel.
enum class Fetch { kNothing, kAll, kHalf };

// R rows x P panels. REQUIRES: the last panel begins below t.columns.
template <class Dot, int R, int P, Fetch kFetch, class Panels>
void MultiplyTile(const Product<Panels>& t, int row, int first_panel, int half) {
  F32x16 sum[R][P];
  float* out = t.out + row * t.out_stride + first_panel * 16;
  const int columns = t.columns - first_panel * 16;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      sum[r][p] =
          t.accumulate ? LoadUpTo(out + r * t.out_stride + p * 16, columns - p * 16) : Zero();
    }
  }
  constexpr int kStep = kFetch == Fetch::kAll ? 1 : 2;
  constexpr int A = kFetch == Fetch::kNothing ? 0 : (P + kStep - 1) / kStep;
  const float* x = t.x + row * t.x_stride;
  for (int s = 0; s < t.segments; ++s) {
    const char* panel[P];
    const char* ahead[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) panel[p] = t.panels(s, first_panel + p);
    if constexpr (A > 0) {
#pragma GCC unroll 8
      for (int a = 0; a < A; ++a) {
        ahead[a] = t.panels.Ahead(s, first_panel + (P > 1 ? a * kStep + half : 0));
      }
    }
    MultiplyLines<Dot, R, P, A>(sum, x, t.x_stride, panel, ahead, 0, t.lines);
    x += size_t(t.lines) * Dot::kWords;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      StoreUpTo(out + r * t.out_stride + p * 16, sum[r][p], columns - p * 16);
    }
  }
}

// R rows x the panels [begin, end), P at a time.
template <class Dot, int R, int P, Fetch kFetch, class Panels>
void MultiplyStrip(const Product<Panels>& t, int row, int begin, int end, int half) {
  for (; begin + P <= end; begin += P) MultiplyTile<Dot, R, P, kFetch>(t, row, begin, half);
  if constexpr (P > 1) {
    if (begin < end) MultiplyStrip<Dot, R, P / 2, kFetch>(t, row, begin, end, half);
  }
}

// Rows that fit one tile: R or fewer.
template <class Dot, Fetch kFetch, int R = kTileRows, class Panels>
void MultiplyFew(const Product<Panels>& t, int row, int rows, int begin, int end, int half = 0) {
  // Of several tiles none is less than half full.
  constexpr int kLeast = kFetch == Fetch::kAll ? 1 : kTileRows / 2;
  if constexpr (R > kLeast) {
    if (rows < R) return MultiplyFew<Dot, kFetch, R - 1>(t, row, rows, begin, end, half);
  }
  MultiplyStrip<Dot, R, TilePanels(R), kFetch>(t, row, begin, end, half);
}

// More rows than fit one tile, in tiles of nearly equal height.
template <class Dot, class Panels>
void MultiplyMany(const Product<Panels>& t, int rows, int begin, int end) {
  const int tiles = (rows + kTileRows - 1) / kTileRows;
  for (int i = 0, row = 0; i < tiles; ++i) {
    const int next = int(int64_t(rows) * (i + 1) / tiles);
    if (i < 2) {
      MultiplyFew<Dot, Fetch::kHalf>(t, row, next - row, begin, end, i);
    } else {
      MultiplyFew<Dot, Fetch::kNothing>(t, row, next - row, begin, end);
    }
    row = next;
  }
}

template <class Dot, class Panels>
void Multiply(const Product<Panels>& t, int rows, int begin, int end) {
  if (rows <= kTileRows) {
    MultiplyFew<Dot, Fetch::kAll>(t, 0, rows, begin, end);
  } else {
    MultiplyMany<Dot>(t, rows, begin, end);
  }
}

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_PANEL_PRODUCT_INL_H_
