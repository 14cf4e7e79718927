// out = x w^T over packed weights. Compiled per kernel set.
//
// Rows of x come in tiles, laid out so that a tile is read straight on, as weights are:
// [tile][line][row of the tile], the words of a line and row together. A few rows are one tile,
// which streams the weights past itself; more rows are several, which pass by a block of weights
// in turn, each fetching its share of the next block.
#ifndef KVASIR_ENGINE_BACKEND_CPU_MATMUL_INL_H_
#define KVASIR_ENGINE_BACKEND_CPU_MATMUL_INL_H_

#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/panel_product-inl.h"

namespace kvasir::KVASIR_KERNEL_SET {

// Sums fit the registers: kStreamRows x 1, or kRowTile x kPanelTile. (GCC 12 spills six rows of
// AVX2.)
#if defined(__AVX512F__)
inline constexpr int kStreamRows = 16;
inline constexpr int kRowTile = 12;
inline constexpr int kPanelTile = 2;
#else
inline constexpr int kStreamRows = 5;
inline constexpr int kRowTile = 5;
inline constexpr int kPanelTile = 1;
#endif
// A block is kBlockWords / Dot::kWords lines: it and a tile's part of x stay in L1 or L2.
inline constexpr int kBlockWords = 1024;
// How far ahead a tile that is alone fetches weights, past the caches, since it needs them once: as
// much as memory delivers within its latency.
inline constexpr size_t kAheadBytes = 8192;

// The tiles of M rows, of nearly equal height.
struct RowTiles {
  explicit RowTiles(int m) : rows(m), count(m <= kStreamRows ? 1 : (m + kRowTile - 1) / kRowTile) {}
  int First(int tile) const { return int(int64_t(rows) * tile / count); }

  int rows;
  int count;
};

// Weights of so many bytes are in a cache already: there the latency of a lone chain of sums would
// show, so that a few rows take several panels at once.
inline constexpr size_t kCachedBytes = 1 << 20;
inline constexpr int kCachedPanels = 4;

struct TileArgs {
  const float* x = nullptr;  // words of the tile's first line
  const char* w = nullptr;   // first line of the first panel
  size_t panel_bytes = 0;
  int lines = 0;
  const char* ahead = nullptr;  // fetched meanwhile: `fetched` lines from here on
  int fetched = 0;
  float* out = nullptr;
  size_t out_stride = 0;
  int columns = 0;          // of out, from its first on; the last panel's others are dropped
  bool accumulate = false;  // out holds the sums so far
};

template <class Dot, int R, int P, bool kOnce>
void MultiplyTile(const TileArgs& t) {
  F32x16 sum[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      float* out = t.out + r * t.out_stride + p * 16;
      sum[r][p] = t.accumulate ? LoadUpTo(out, t.columns - p * 16) : Zero();
    }
  }
  const char* panel[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) panel[p] = t.w + p * t.panel_bytes;
  const float* x = t.x;
  int line = 0;
  for (; line < t.fetched; ++line, x += R * Dot::kWords) {
    _mm_prefetch(t.ahead + line * kLineBytes, kOnce ? _MM_HINT_NTA : _MM_HINT_T0);
    MultiplyLine<Dot>(sum, x, Dot::kWords, panel, line * kLineBytes);
  }
  for (; line < t.lines; ++line, x += R * Dot::kWords) {
    MultiplyLine<Dot>(sum, x, Dot::kWords, panel, line * kLineBytes);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      StoreUpTo(t.out + r * t.out_stride + p * 16, sum[r][p], t.columns - p * 16);
    }
  }
}

// MultiplyTile of `rows` rows. REQUIRES: 1 <= rows <= R.
template <class Dot, int R, int P, bool kOnce>
void MultiplyRows(const TileArgs& t, int rows) {
  if constexpr (R > 1) {
    if (rows < R) return MultiplyRows<Dot, R - 1, P, kOnce>(t, rows);
  }
  MultiplyTile<Dot, R, P, kOnce>(t);
}

// R rows past cached panels, P at a time.
template <class Dot, int R, int P>
void MultiplyStrip(TileArgs t, int panels) {
  for (; panels >= P; panels -= P) {
    MultiplyTile<Dot, R, P, false>(t);
    t.w += P * t.panel_bytes;
    t.out += P * 16;
    t.columns -= P * 16;
  }
  if constexpr (P > 1) MultiplyStrip<Dot, R, P / 2>(t, panels);
}

template <class Dot, int R = kStreamRows>
void MultiplyCached(const TileArgs& t, int rows, int panels) {
  if constexpr (R > 1) {
    if (rows < R) return MultiplyCached<Dot, R - 1>(t, rows, panels);
  }
  MultiplyStrip<Dot, R, TilePanels(R, kCachedPanels)>(t, panels);
}

// Of the block that comes next, tile `i` of `count` fetches a part of one panel.
KVASIR_INLINE void FetchPart(TileArgs& t, const char* next, int i, int count) {
  const int panel = int(int64_t(i) * kPanelTile / count);
  const int first = (panel * count + kPanelTile - 1) / kPanelTile;
  const int sharers = ((panel + 1) * count + kPanelTile - 1) / kPanelTile - first;
  const int begin = int(int64_t(t.lines) * (i - first) / sharers);
  const int end = int(int64_t(t.lines) * (i - first + 1) / sharers);
  t.ahead = next + panel * t.panel_bytes + begin * kLineBytes;
  t.fetched = end - begin;
}

// The tiles [begin, end) times `panels` panels from `first_panel` on, a block of lines after
// another.
template <class Dot>
void MultiplyTiles(const MatmulArgs& args, const RowTiles& tiles, int begin, int end, int lines,
                   int first_panel, int panels) {
  constexpr int kBlockLines = kBlockWords / Dot::kWords;
  const int blocks = (lines + kBlockLines - 1) / kBlockLines;
  TileArgs t;
  t.panel_bytes = lines * kLineBytes;
  t.out_stride = args.n;
  t.columns = args.n - first_panel * 16;
  const char* w = static_cast<const char*>(args.w) + first_panel * t.panel_bytes;
  for (int block = 0; block < blocks; ++block) {
    const int line = int(int64_t(lines) * block / blocks);
    const int next_line = int(int64_t(lines) * (block + 1) / blocks);
    const bool last = block + 1 == blocks;
    t.w = w + line * kLineBytes;
    t.lines = next_line - line;
    t.accumulate = block > 0;
    const char* next = last ? w + panels * t.panel_bytes : w + next_line * kLineBytes;
    for (int tile = begin; tile < end; ++tile) {
      const int row = tiles.First(tile);
      const int rows = tiles.First(tile + 1) - row;
      t.x = static_cast<const float*>(args.x) +
            (size_t(row) * lines + size_t(rows) * line) * Dot::kWords;
      t.out = args.out + size_t(row) * args.n + first_panel * 16;
      FetchPart(t, next, tile - begin, end - begin);
      if (panels == kPanelTile) {
        MultiplyRows<Dot, kRowTile, kPanelTile, false>(t, rows);
      } else {
        MultiplyRows<Dot, kRowTile, 1, false>(t, rows);
      }
    }
  }
}

template <class Dot, int kPairs>
void Matmul(const MatmulArgs& args, int tile_begin, int tile_end, int panel_begin, int panel_end) {
  const int lines = (args.k + kPairs - 1) / kPairs;
  const RowTiles tiles(args.rows);
  if (tiles.count > 1) {
    for (int panel = panel_begin; panel < panel_end; panel += kPanelTile) {
      MultiplyTiles<Dot>(args, tiles, tile_begin, tile_end, lines, panel,
                         Smaller(kPanelTile, panel_end - panel));
    }
    return;
  }
  TileArgs t;
  t.x = static_cast<const float*>(args.x);
  t.panel_bytes = lines * kLineBytes;
  t.w = static_cast<const char*>(args.w) + panel_begin * t.panel_bytes;
  t.lines = lines;
  t.out = args.out + panel_begin * 16;
  t.out_stride = args.n;
  t.columns = args.n - panel_begin * 16;
  if ((args.n + 15) / 16 * t.panel_bytes <= kCachedBytes) {
    MultiplyCached<Dot>(t, args.rows, panel_end - panel_begin);
    return;
  }
  t.fetched = lines;
  for (int panel = panel_begin; panel < panel_end; ++panel) {
    t.ahead = t.w + kAheadBytes;
    MultiplyRows<Dot, kStreamRows, 1, true>(t, args.rows);
    t.w += t.panel_bytes;
    t.out += 16;
    t.columns -= 16;
  }
}

inline int CountRowTiles(int rows) { return RowTiles(rows).count; }

// One row that fills whole lines lies in this order already.
template <class Activation, int kPairs>
size_t TiledBytes(int rows, int k) {
  const int lines = (k + kPairs - 1) / kPairs;
  if (rows == 1 && k % kPairs == 0) return 0;
  return size_t(rows) * lines * kPairs * sizeof(Activation);
}

// Rows in tiles for Matmul, lines [begin, end) of each. A last line that is half a pair is filled
// with zero, as the weight's is.
template <class Dot, class Activation, int kPairs>
void TileRows(const TileRowsArgs& args, int begin, int end) {
  constexpr int kUnit = Dot::kWords * sizeof(float);  // bytes of a line and row
  constexpr int kRun = 64 / kUnit;
  const int lines = (args.k + kPairs - 1) / kPairs;
  const int whole = args.k / kPairs;  // lines
  const size_t row_bytes = size_t(args.k) * sizeof(Activation);
  const RowTiles tiles(args.rows);
  for (int tile = 0; tile < tiles.count; ++tile) {
    const int first = tiles.First(tile);
    const int rows = tiles.First(tile + 1) - first;
    char* to = static_cast<char*>(args.out) + size_t(first) * lines * kUnit;
    for (int line = begin; line < end; line += kRun) {
      const int run_end = Smaller(end, line + kRun);
      for (int r = 0; r < rows; ++r) {
        const char* from = static_cast<const char*>(args.x) + (first + r) * row_bytes;
        for (int i = line; i < Smaller(run_end, whole); ++i) {
          __builtin_memcpy(to + (size_t(i) * rows + r) * kUnit, from + i * kUnit, kUnit);
        }
        if (run_end > whole) {
          char* last = to + (size_t(whole) * rows + r) * kUnit;
          __builtin_memset(last, 0, kUnit);
          __builtin_memcpy(last, from + whole * kUnit, row_bytes - whole * kUnit);
        }
      }
    }
  }
}

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_MATMUL_INL_H_
