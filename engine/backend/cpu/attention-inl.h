// Attention of a group's query rows over one span of keys, after "FlashAttention" (Dao et al.,
// 2022): online softmax over tiles of kKeyTile keys. Compiled per kernel set.
//
// Tiles are aligned to absolute position and a masked key adds an exact zero, so a row's result is
// a function of its query and the keys that it sees, whatever rows and later keys stand beside.
#ifndef KVASIR_ENGINE_BACKEND_CPU_ATTENTION_INL_H_
#define KVASIR_ENGINE_BACKEND_CPU_ATTENTION_INL_H_

#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/panel_product-inl.h"

namespace kvasir::KVASIR_KERNEL_SET {

inline constexpr int kTileBlocks = kKeyTile / 16;
inline constexpr float kMinusInfinity = -__builtin_inff();

// Probabilities as the second product takes them, in place of the scores; returns what was stored.
KVASIR_INLINE F32x16 StoreProbabilities(float* row, int i, F32x16 p, float) {
  Store(row + i, p);
  return p;
}
KVASIR_INLINE F32x16 StoreProbabilities(float* row, int i, F32x16 p, uint16_t) {
  const Bf16x16 rounded = ToBf16(p);
  StoreBf16(reinterpret_cast<uint16_t*>(row) + i, rounded);
  return ToF32(rounded);
}

// One row of a tile: scores [0, 16 * blocks) become probabilities, the state moves on to the new
// maximum. The sum takes the probabilities as rounded, so that the weights of V add up to one.
template <class Activation>
void SoftmaxRow(float* scores, int blocks, int visible, float scale, const SoftmaxState& state,
                int row, int d) {
  const F32x16 factor = Set1(scale);
  F32x16 greatest = Set1(kMinusInfinity);
  for (int b = 0; b < blocks; ++b) {
    F32x16 score = Mul(Load(scores + b * 16), factor);
    const int seen = visible - b * 16;
    if (seen < 16) score = FirstOr(score, seen > 0 ? seen : 0, Set1(kMinusInfinity));
    Store(scores + b * 16, score);
    greatest = Max(greatest, score);
  }
  const float before = state.max[row];
  const float tile = MaxLanes(greatest);
  const float now = before > tile ? before : tile;
  // Where nothing has been seen yet, -inf - -inf must not arise.
  const F32x16 base = Set1(now == kMinusInfinity ? 0.0f : now);
  F32x16 sum = Zero();
  for (int b = 0; b < blocks; ++b) {
    const F32x16 p = Exp(Sub(Load(scores + b * 16), base));
    sum = Add(sum, StoreProbabilities(scores, b * 16, p, Activation{}));
  }
  const F32x16 keep = Exp(Sub(Set1(before), base));
  float factors[16];
  Store(factors, keep);
  state.sum[row] = state.sum[row] * factors[0] + SumLanes(sum);
  state.max[row] = now;
  if (now == before) return;  // times one
  float* out = state.out + row * state.out_stride;
  for (int i = 0; i < d; i += 16) StoreUpTo(out + i, Mul(LoadUpTo(out + i, d - i), keep), d - i);
}

// The V of a block, zeros for the tokens from `valid` on: what was never stored may be NaN.
inline void CopyValues(const char* from, int panels, int lines, int valid, int tokens_per_line,
                       char* to) {
  for (int i = 0; i < panels * lines; ++i, from += kLineBytes, to += kLineBytes) {
    const int tokens = valid - i % lines * tokens_per_line;
    const int keep = tokens >= tokens_per_line ? -1 : tokens <= 0 ? 0 : 0xffff;
    const __m256i mask = _mm256_set1_epi32(keep);
    for (size_t half = 0; half < kLineBytes; half += 32) {
      const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + half));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + half), _mm256_and_si256(v, mask));
    }
  }
}

// Blocks of the tile that begins at this key.
KVASIR_INLINE int BlocksAt(const SpanArgs& args, int begin) {
  return begin < args.end ? (Smaller(kKeyTile, args.end - begin) + 15) / 16 : 0;
}

template <class Dot, class Activation, int kPairs>
void AttentionSpan(const SpanArgs& args) {
  constexpr int kValueLines = 16 / kPairs;
  const int d = args.head_dim;
  const int value_panels = (d + 15) / 16;
  const SoftmaxState& state = args.state;
  for (int r = 0; r < args.rows; ++r) {
    state.max[r] = kMinusInfinity;
    state.sum[r] = 0;
    for (int i = 0; i < d; i += 16) StoreUpTo(state.out + r * state.out_stride + i, Zero(), d - i);
  }
  for (int begin = args.begin; begin < args.end; begin += kKeyTile) {
    const int blocks = BlocksAt(args, begin);
    const int next_blocks = BlocksAt(args, begin + kKeyTile);
    const char* keys[kTileBlocks];
    const char* values[kTileBlocks];
    const char* next_keys[kTileBlocks];
    for (int b = 0; b < blocks; ++b) {
      const int first = begin + b * 16;
      keys[b] = args.kv + args.blocks[first / 16] * args.block_bytes;
      values[b] = keys[b] + args.key_bytes;
      next_keys[b] = b < next_blocks
                         ? args.kv + args.blocks[(first + kKeyTile) / 16] * args.block_bytes
                         : keys[b];
      if (first + 16 > args.context) {
        CopyValues(values[b], value_panels, kValueLines, args.context - first, kPairs, args.values);
        values[b] = args.values;
      }
    }
    Product<KeyPanels> scores;
    scores.x = static_cast<const float*>(args.q);
    scores.x_stride = args.q_stride * sizeof(Activation) / sizeof(float);
    scores.panels = {keys, values};
    scores.lines = d / kPairs;
    scores.out = args.scores;
    scores.out_stride = kKeyTile;
    scores.columns = kKeyTile;
    Multiply<Dot>(scores, args.rows, 0, blocks);
    for (int r = 0; r < args.rows; ++r) {
      SoftmaxRow<Activation>(args.scores + size_t(r) * kKeyTile, blocks, args.visible[r] - begin,
                             args.scale, state, r, d);
    }
    Product<ValuePanels> mixed;
    mixed.x = args.scores;
    mixed.x_stride = kKeyTile;
    mixed.panels = {values, next_keys, kValueLines * kLineBytes};
    mixed.segments = blocks;
    mixed.lines = kValueLines;
    mixed.out = state.out;
    mixed.out_stride = state.out_stride;
    mixed.columns = d;
    mixed.accumulate = true;
    Multiply<Dot>(mixed, args.rows, 0, value_panels);
  }
}

inline void FoldSpan(const SoftmaxState& into, const SoftmaxState& next, int rows, int d) {
  for (int r = 0; r < rows; ++r) {
    const float a = into.max[r];
    const float b = next.max[r];
    const float now = a > b ? a : b;
    const F32x16 keep = Exp(Set1(a - now));
    const F32x16 take = Exp(Set1(b - now));
    float factors[2][16];
    Store(factors[0], keep);
    Store(factors[1], take);
    into.sum[r] = into.sum[r] * factors[0][0] + next.sum[r] * factors[1][0];
    into.max[r] = now;
    float* out = into.out + r * into.out_stride;
    const float* add = next.out + r * next.out_stride;
    for (int i = 0; i < d; i += 16) {
      const F32x16 kept = Mul(LoadUpTo(out + i, d - i), keep);
      StoreUpTo(out + i, Fma(LoadUpTo(add + i, d - i), take, kept), d - i);
    }
  }
}

template <class Out>
void Normalize(void* out, const float* o, float sum, int n) {
  Out* to = static_cast<Out*>(out);
  const F32x16 divisor = Set1(sum);
  for (int i = 0; i < n; i += 16) {
    // + 0: a masked key may have turned a -0 into a 0.
    StoreUpTo(to + i, Add(Div(LoadUpTo(o + i, n - i), divisor), Zero()), n - i);
  }
}

}  // namespace kvasir::KVASIR_KERNEL_SET

#endif  // KVASIR_ENGINE_BACKEND_CPU_ATTENTION_INL_H_
