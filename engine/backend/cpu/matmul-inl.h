// out = x w^T over packed weights. Compiled per kernel set.
#ifndef KVASIR_ENGINE_BACKEND_CPU_MATMUL_INL_H_
#define KVASIR_ENGINE_BACKEND_CPU_MATMUL_INL_H_

#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/panel_product-inl.h"

namespace kvasir::KVASIR_KERNEL_SET {

// A block of weights that stays in L1 while all rows pass by: kBlockPanels x kBlockLines x 64 B.
inline constexpr int kBlockPanels = 4;
inline constexpr int kBlockLines = 128;
// From so many rows on, widening a block once pays for the store and reload (measured on Zen 5,
// where AVX2 never gains: 0).
#if defined(__AVX512F__)
inline constexpr int kWidenRows = 192;
#else
inline constexpr int kWidenRows = 0;
#endif

template <class Panels>
KVASIR_INLINE Product<Panels> MatmulProduct(const MatmulArgs& args, int row, size_t x_word_bytes,
                                            Panels panels) {
  Product<Panels> t;
  t.x_stride = args.x_stride * x_word_bytes / sizeof(float);
  t.x = static_cast<const float*>(args.x) + row * t.x_stride;
  t.panels = panels;
  t.out = args.out + size_t(row) * args.n;
  t.out_stride = args.n;
  t.columns = args.n;
  return t;
}

// One block of bf16 panels in f32: [kBlockPanels][2 * lines][16].
inline void WidenBlock(const char* base, size_t stride, int panels, int lines, float* wide) {
  for (int p = 0; p < panels; ++p) {
    const char* line = base + p * stride;
    float* to = wide + size_t(p) * 2 * lines * 16;
    for (int i = 0; i < lines; ++i, line += kLineBytes, to += 32) {
      Store(to, WidenLow(line));
      Store(to + 16, WidenHigh(line));
    }
  }
}

// Rows that do not fit one tile: the loop over k is cut into blocks of weights, sums rest in out.
template <class Dot>
void MatmulBlocked(const MatmulArgs& args, size_t x_element, int lines, int row_begin, int rows,
                   int panel_begin, int panel_end) {
  constexpr bool kCanWiden = Dot::kSteps == 2 && kWidenRows > 0;
  const bool widen = kCanWiden && rows >= kWidenRows;
  const int most_lines = widen ? kBlockLines / 2 : kBlockLines;  // equal bytes once widened
  alignas(64) float wide[kCanWiden ? kBlockPanels * kBlockLines * 16 : 1];
  const size_t stride = lines * kLineBytes;
  for (int panel = panel_begin; panel < panel_end; panel += kBlockPanels) {
    const int panels = Smaller(kBlockPanels, panel_end - panel);
    const char* group = static_cast<const char*>(args.w) + panel * stride;
    for (int line = 0; line < lines; line += most_lines) {
      const int block_lines = Smaller(most_lines, lines - line);
      const char* base = group + line * kLineBytes;
      const auto multiply = [&](auto dot, auto block, int count) {
        auto t = MatmulProduct(args, row_begin, x_element, block);
        t.x += size_t(line) * Dot::kWords;
        t.lines = count;
        t.out += panel * 16;
        t.columns -= panel * 16;
        t.accumulate = line > 0;
        MultiplyMany<decltype(dot)>(t, rows, 0, panels);
      };
      if (widen) {
        WidenBlock(base, stride, panels, block_lines, wide);
        multiply(FloatDot{},
                 LocalPanels{reinterpret_cast<const char*>(wide), block_lines * 2 * kLineBytes},
                 block_lines * 2);
      } else {
        const bool last = line + most_lines >= lines;
        const char* next = last ? group + kBlockPanels * stride : base + most_lines * kLineBytes;
        multiply(Dot{}, BlockPanels{base, next, stride}, block_lines);
      }
    }
  }
}

template <class Dot, int kPairs>
void Matmul(const MatmulArgs& args, int row_begin, int row_end, int panel_begin, int panel_end) {
  const int lines = (args.k + kPairs - 1) / kPairs;
  const size_t x_element = sizeof(float) * Dot::kWords / kPairs;
  const int rows = row_end - row_begin;
  if (rows <= kTileRows) {
    auto t = MatmulProduct(args, row_begin, x_element,
                           StreamedPanels{static_cast<const char*>(args.w), lines * kLineBytes});
    t.lines = lines;
    MultiplyFew<Dot, Fetch::kAll>(t, 0, rows, panel_begin, panel_end);
  } else {
    MatmulBlocked<Dot>(args, x_element, lines, row_begin, rows, panel_begin, panel_end);
  }
}

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_MATMUL_INL_H_
