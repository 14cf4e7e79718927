#include "engine/backend/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvasir {
namespace {

// Query rows that share a pass over K and V: enough to hide the loads, few enough for L2.
constexpr int kTileRows = 64;
// Below so many multiplications a second thread costs more than it brings.
constexpr double kSerialProducts = 300e3;
// With fewer tiles than this a thread, the spans of a tile are computed side by side.
constexpr int kTilesPerThread = 4;
// Parts of split spans rest in memory until they are folded; beyond this spans are not split.
constexpr size_t kMaxPartBytes = size_t{64} << 20;

int SpanCount(int keys) { return (keys + kKeySpan - 1) / kKeySpan; }

}  // namespace

PagedAttention::PagedAttention(const Kernels& kernels, const AttentionShape& shape,
                               const KvLayout& layout, ThreadPool& pool)
    : kernels_(kernels),
      shape_(shape),
      layout_(layout),
      pool_(pool),
      group_(shape.heads / shape.kv_heads),
      tile_tokens_(std::max(1, kTileRows / group_)),
      scratch_(pool.threads()) {
  const size_t rows = size_t(tile_tokens_) * group_;
  for (Scratch& scratch : scratch_) {
    scratch.q.resize(rows * shape.head_dim);
    scratch.scores.resize(rows * kKeyTile);
    scratch.values.resize(layout.value_bytes());
    scratch.visible.resize(rows);
    scratch.total.resize(StateFloats(int(rows)));
    scratch.span.resize(StateFloats(int(rows)));
  }
}

void PagedAttention::Run(void* out, const float* qkv, const char* kv, const DeviceBatch& batch) {
  PlanTiles(batch);
  const bool split = PlanSplits();
  const bool parallel = products_ >= kSerialProducts;
  if (split) {
    pool_.For(parallel, static_cast<int>(splits_.size()), [&](int i, int worker) {
      const QueryTile& tile = tiles_[splits_[i].tile];
      const size_t part = tile.first_part + splits_[i].span * StateFloats(Rows(tile));
      GatherQueries(tile, qkv, batch, scratch_[worker]);
      ComputeSpan(tile, splits_[i].span, kv, batch, scratch_[worker],
                  StateAt(parts_.data() + part, Rows(tile)));
    });
  }
  pool_.For(parallel, static_cast<int>(tiles_.size()), [&](int i, int worker) {
    const QueryTile& tile = tiles_[i];
    const int rows = Rows(tile);
    Scratch& scratch = scratch_[worker];
    if (!split) GatherQueries(tile, qkv, batch, scratch);
    const SoftmaxState total = StartTotal(tile, scratch);
    for (int span = 0; span < SpanCount(tile.keys); ++span) {
      SoftmaxState part = StateAt(scratch.span.data(), rows);
      if (split) {
        part = StateAt(parts_.data() + tile.first_part + span * StateFloats(rows), rows);
      } else {
        ComputeSpan(tile, span, kv, batch, scratch, part);
      }
      kernels_.fold_span(total, part, rows, shape_.head_dim);
    }
    StoreTotal(tile, total, out);
  });
}

// The longest tiles of a sequence first, so that threads end together.
void PagedAttention::PlanTiles(const DeviceBatch& batch) {
  tiles_.clear();
  products_ = 0;
  for (int s = 0; s < batch.num_sequences; ++s) {
    const int begin = batch.query_start[s];
    const int end = batch.query_start[s + 1];
    const int tiles = (end - begin + tile_tokens_ - 1) / tile_tokens_;
    for (int kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
      for (int i = tiles - 1; i >= 0; --i) {
        QueryTile tile;
        tile.sequence = s;
        tile.kv_head = kv_head;
        tile.first_token = begin + i * tile_tokens_;
        tile.tokens = std::min(tile_tokens_, end - tile.first_token);
        tile.keys = batch.positions[tile.first_token + tile.tokens - 1] + 1;
        products_ += 2.0 * Rows(tile) * tile.keys * shape_.head_dim;
        tiles_.push_back(tile);
      }
    }
  }
}

bool PagedAttention::PlanSplits() {
  if (pool_.threads() == 1 || products_ < kSerialProducts ||
      tiles_.size() >= size_t(kTilesPerThread) * pool_.threads()) {
    return false;
  }
  splits_.clear();
  size_t floats = 0;
  for (int i = 0; i < static_cast<int>(tiles_.size()); ++i) {
    tiles_[i].first_part = floats;
    const int spans = SpanCount(tiles_[i].keys);
    floats += spans * StateFloats(Rows(tiles_[i]));
    for (int span = 0; span < spans; ++span) splits_.push_back({i, span});
  }
  if (splits_.size() == tiles_.size() || floats * sizeof(float) > kMaxPartBytes) return false;
  if (parts_.size() < floats) parts_.resize(floats);
  return true;
}

void PagedAttention::GatherQueries(const QueryTile& tile, const float* qkv,
                                   const DeviceBatch& batch, Scratch& scratch) const {
  const int d = shape_.head_dim;
  const size_t stride = size_t(shape_.heads + 2 * shape_.kv_heads) * d;
  char* to = reinterpret_cast<char*>(scratch.q.data());
  for (int t = 0; t < tile.tokens; ++t) {
    const int token = tile.first_token + t;
    // A group's heads follow each other.
    const float* q = qkv + token * stride + size_t(tile.kv_head) * group_ * d;
    kernels_.convert(to, q, group_ * d);
    to += size_t(group_) * d * SizeOf(kernels_.activation);
    std::fill_n(scratch.visible.begin() + t * group_, group_, batch.positions[token] + 1);
  }
}

void PagedAttention::ComputeSpan(const QueryTile& tile, int span, const char* kv,
                                 const DeviceBatch& batch, Scratch& scratch,
                                 const SoftmaxState& state) const {
  SpanArgs args;
  args.q = scratch.q.data();
  args.q_stride = shape_.head_dim;
  args.rows = Rows(tile);
  args.visible = scratch.visible.data();
  args.kv = kv + tile.kv_head * layout_.head_bytes();
  args.block_bytes = layout_.block_bytes();
  args.key_bytes = layout_.key_bytes();
  args.blocks = batch.block_table + size_t(tile.sequence) * batch.max_blocks;
  args.begin = span * kKeySpan;
  args.end = std::min(tile.keys, args.begin + kKeySpan);
  args.context = batch.context_length[tile.sequence];
  args.head_dim = shape_.head_dim;
  args.scale = float(1.0 / std::sqrt(double(shape_.head_dim)));
  args.state = state;
  args.scores = scratch.scores.data();
  args.values = scratch.values.data();
  kernels_.attention_span(args);
}

SoftmaxState PagedAttention::StateAt(float* memory, int rows) const {
  return {memory, memory + rows, memory + 2 * rows, size_t(shape_.head_dim)};
}

SoftmaxState PagedAttention::StartTotal(const QueryTile& tile, Scratch& scratch) const {
  const int rows = Rows(tile);
  const SoftmaxState total = StateAt(scratch.total.data(), rows);
  std::fill_n(total.max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(total.sum, rows, 0.0f);
  std::fill_n(total.out, size_t(rows) * shape_.head_dim, 0.0f);
  return total;
}

void PagedAttention::StoreTotal(const QueryTile& tile, const SoftmaxState& total, void* out) const {
  const int d = shape_.head_dim;
  for (int t = 0, row = 0; t < tile.tokens; ++t) {
    for (int g = 0; g < group_; ++g, ++row) {
      const size_t head = size_t(tile.first_token + t) * shape_.heads + tile.kv_head * group_ + g;
      kernels_.normalize(static_cast<char*>(out) + head * d * SizeOf(kernels_.activation),
                         total.out + row * total.out_stride, total.sum[row], d);
    }
  }
}

}  // namespace kvasir
