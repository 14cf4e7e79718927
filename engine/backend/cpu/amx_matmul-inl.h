// out = x w^T by AMX: a tile register takes 16 rows of 64 bytes, and
//   C [16 rows, 16 columns] f32 += A [16 rows, 32 k] bf16 times B [16 k pairs, 16 columns x 2] bf16
// is one instruction (TDPBF16PS, Intel Architecture Instruction Set Extensions Reference). Sixteen
// lines of a packed panel are a B as they lie; rows of x are laid out as A's, padded with zero:
// [row / 16][k / 32][16][32].
//
// An instruction sums its own 32 products first, so bits depend on where blocks of 32 begin: always
// at multiples of 32, whatever rows and panels a call has.
#ifndef KVASIR_ENGINE_BACKEND_CPU_AMX_MATMUL_INL_H_
#define KVASIR_ENGINE_BACKEND_CPU_AMX_MATMUL_INL_H_

#include <algorithm>
#include <cstring>

#include "engine/backend/cpu/kernels.h"

namespace kvasir::amx {

inline constexpr int kTileRows = 16;
inline constexpr size_t kRowBytes = 64;
inline constexpr size_t kTileBytes = kTileRows * kRowBytes;
// Products of so many tiles along k at a time: two panels' share stays in L1 while rows pass by.
inline constexpr int kBlockTiles = 16;

inline int LinesOf(int k) { return (k + 1) / 2; }
inline int TilesAlongK(int k) { return (LinesOf(k) + kTileRows - 1) / kTileRows; }
inline int CountRowTiles(int rows) { return (rows + kTileRows - 1) / kTileRows; }
inline size_t TiledBytes(int rows, int k) {
  return size_t(CountRowTiles(rows)) * TilesAlongK(k) * kTileBytes;
}

// Lines [begin, end) of all rows; whoever has the last line fills up what pads k.
inline void TileRows(const TileRowsArgs& args, int begin, int end) {
  const int lines = LinesOf(args.k);
  const int tiles_k = TilesAlongK(args.k);
  const size_t row_bytes = size_t(args.k) * 2;
  const int padded_end = end == lines ? tiles_k * kTileRows : end;
  for (int row = 0; row < CountRowTiles(args.rows) * kTileRows; ++row) {
    const char* from = static_cast<const char*>(args.x) + row * row_bytes;
    char* tile = static_cast<char*>(args.out) + row / kTileRows * tiles_k * kTileBytes +
                 row % kTileRows * kRowBytes;
    for (int line = begin; line < padded_end;) {
      const int next = std::min(padded_end, (line / kTileRows + 1) * kTileRows);
      char* to = tile + line / kTileRows * kTileBytes + line % kTileRows * 4;
      const size_t first = size_t(line) * 4;
      const size_t size = size_t(next - line) * 4;
      const size_t filled =
          row < args.rows && first < row_bytes ? std::min(size, row_bytes - first) : 0;
      if (filled > 0) std::memcpy(to, from + first, filled);
      std::memset(to + filled, 0, size - filled);
      line = next;
    }
  }
}

// One C: a part of out, or a copy of it where rows or columns are fewer than a tile has.
struct Sums {
  float* out = nullptr;
  size_t stride = 0;  // elements
  int rows = 0;
  int columns = 0;
  alignas(64) float copy[kTileRows * 16];

  bool whole() const { return rows >= kTileRows && columns >= 16; }
  float* data() { return whole() ? out : copy; }
  size_t stride_bytes() const { return whole() ? stride * sizeof(float) : kRowBytes; }
  void Fetch() {
    if (whole()) return;
    std::memset(copy, 0, sizeof(copy));
    for (int r = 0; r < std::min(rows, kTileRows); ++r) {
      std::memcpy(copy + r * 16, out + r * stride, std::min(columns, 16) * sizeof(float));
    }
  }
  void Put() const {
    if (whole()) return;
    for (int r = 0; r < std::min(rows, kTileRows); ++r) {
      std::memcpy(out + r * stride, copy + r * 16, std::min(columns, 16) * sizeof(float));
    }
  }
};

// R tiles of rows by P panels: C in the registers 2 r + p, A in 4 + r, B in 6 + p.
template <class Tiles, int R, int P>
struct Product {
  const char* a[2] = {};  // first tile of each, one after another along k
  const char* b[2] = {};
  Sums sums[4];

  void Step(size_t offset) { Step(offset, {b[0] + offset, b[1] + offset}); }

  struct Panels {
    const char* b0;
    const char* b1;
  };
  void Step(size_t offset, Panels w) {
    Tiles::template Load<4>(a[0] + offset, kRowBytes);
    Tiles::template Load<6>(w.b0, kRowBytes);
    Tiles::template Dot<0, 4, 6>();
    if constexpr (P == 2) {
      Tiles::template Load<7>(w.b1, kRowBytes);
      Tiles::template Dot<1, 4, 7>();
    }
    if constexpr (R == 2) {
      Tiles::template Load<5>(a[1] + offset, kRowBytes);
      Tiles::template Dot<2, 5, 6>();
      if constexpr (P == 2) Tiles::template Dot<3, 5, 7>();
    }
  }

  template <int kSums>
  void Begin(bool accumulate) {
    if constexpr (kSums / 2 < R && kSums % 2 < P) {
      if (accumulate) {
        sums[kSums].Fetch();
        Tiles::template Load<kSums>(sums[kSums].data(), sums[kSums].stride_bytes());
      } else {
        Tiles::template Zero<kSums>();
      }
    }
  }
  template <int kSums>
  void End() {
    if constexpr (kSums / 2 < R && kSums % 2 < P) {
      Tiles::template Store<kSums>(sums[kSums].data(), sums[kSums].stride_bytes());
      sums[kSums].Put();
    }
  }

  // The tiles [begin, end) along k. Of the last one `last_lines` lines are the panel's own.
  void Run(int begin, int end, int tiles_k, int last_lines) {
    const bool accumulate = begin > 0;
    Begin<0>(accumulate);
    Begin<1>(accumulate);
    Begin<2>(accumulate);
    Begin<3>(accumulate);
    const bool cut = end == tiles_k && last_lines < kTileRows;
    for (int i = begin; i < end - cut; ++i) Step(i * kTileBytes);
    if (cut) {
      // What follows the lines is the next panel, or nothing: zero instead.
      alignas(64) char last[2][kTileBytes] = {};
      const size_t offset = (end - 1) * kTileBytes;
      for (int p = 0; p < P; ++p) std::memcpy(last[p], b[p] + offset, last_lines * kRowBytes);
      Step(offset, {last[0], last[1]});
    }
    End<0>();
    End<1>();
    End<2>();
    End<3>();
  }
};

template <class Tiles, int R, int P>
void MultiplyTiles(const MatmulArgs& args, int tile, int panel, int begin, int end) {
  const int lines = LinesOf(args.k);
  const int tiles_k = TilesAlongK(args.k);
  Product<Tiles, R, P> product;
  for (int r = 0; r < R; ++r) {
    product.a[r] = static_cast<const char*>(args.x) + size_t(tile + r) * tiles_k * kTileBytes;
  }
  for (int p = 0; p < P; ++p) {
    product.b[p] = static_cast<const char*>(args.w) + size_t(panel + p) * lines * kRowBytes;
  }
  for (int i = 0; i < 4; ++i) {
    const int row = (tile + i / 2) * kTileRows;
    const int column = (panel + i % 2) * 16;
    if (i / 2 >= R || i % 2 >= P) continue;
    Sums& sums = product.sums[i];
    sums.out = args.out + size_t(row) * args.n + column;
    sums.stride = args.n;
    sums.rows = args.rows - row;
    sums.columns = args.n - column;
  }
  product.Run(begin, end, tiles_k, lines - (tiles_k - 1) * kTileRows);
}

// As Kernels::matmul. Tiles: the registers, see kernels_amx.cc.
template <class Tiles>
void Matmul(const MatmulArgs& args, int tile_begin, int tile_end, int panel_begin, int panel_end) {
  const int tiles_k = TilesAlongK(args.k);
  Tiles::Configure();
  for (int panel = panel_begin; panel < panel_end; panel += 2) {
    for (int begin = 0; begin < tiles_k; begin += kBlockTiles) {
      const int end = std::min(tiles_k, begin + kBlockTiles);
      for (int tile = tile_begin; tile < tile_end; tile += 2) {
        const bool one_row_tile = tile + 1 == tile_end;
        if (panel + 1 == panel_end) {
          one_row_tile ? MultiplyTiles<Tiles, 1, 1>(args, tile, panel, begin, end)
                       : MultiplyTiles<Tiles, 2, 1>(args, tile, panel, begin, end);
        } else {
          one_row_tile ? MultiplyTiles<Tiles, 1, 2>(args, tile, panel, begin, end)
                       : MultiplyTiles<Tiles, 2, 2>(args, tile, panel, begin, end);
        }
      }
    }
  }
  Tiles::Release();
}

}  // namespace kvasir::amx

#endif  // KVASIR_ENGINE_BACKEND_CPU_AMX_MATMUL_INL_H_
