#include "tests/engine/backend/cuda/attention_testing.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "engine/batch.h"

namespace kvasir::cuda {
namespace {

constexpr uint16_t kNan = 0xffff;

uint16_t Bits(bf16 value) {
  uint16_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

int BlocksFor(int tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }
int BlocksOf(const Piece& piece) { return BlocksFor(piece.end); }

// The step's batch: blocks in random order, a few more than are needed, unused entries -1. What a
// conversation repeats is in its table again.
Batch MakeBatch(const std::vector<Piece>& pieces, int* num_blocks) {
  Batch batch;
  batch.Clear();
  int used = 0;
  for (const Piece& piece : pieces) {
    used += std::min(BlocksOf(piece), BlocksFor(piece.conversation->rows()));
    batch.max_blocks = std::max(batch.max_blocks, BlocksOf(piece));
  }
  *num_blocks = used + 2;
  std::vector<int> blocks(*num_blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(7));
  int next = 0;
  for (const Piece& piece : pieces) {
    for (int p = piece.begin; p < piece.end; ++p) batch.positions.push_back(p);
    batch.tokens.resize(batch.positions.size());
    batch.query_start.push_back(batch.num_tokens());
    batch.context_length.push_back(piece.end);
    std::map<int, int> by_row;
    for (int i = 0; i < batch.max_blocks; ++i) {
      int block = -1;
      if (i < BlocksOf(piece)) {
        const auto [found, first] =
            by_row.try_emplace(piece.conversation->Row(i * kBlockTokens), next);
        next += first;
        block = blocks[found->second];
      }
      batch.block_table.push_back(block);
    }
  }
  return batch;
}

// Values from one block to the next: another layer's come between.
int BlockStride(const Heads& heads) {
  return 2 * heads.kv_heads * 2 * kBlockTokens * heads.head_dim;
}

// [blocks][layers][K][2][kBlockTokens][D], the last layer ours; NaN where the context does not
// reach.
std::vector<bf16> FillCache(const Heads& heads, const std::vector<Piece>& pieces,
                            const Batch& batch, int num_blocks) {
  const int d = heads.head_dim;
  bf16 nan;
  std::memcpy(static_cast<void*>(&nan), &kNan, sizeof(kNan));
  std::vector<bf16> cache(size_t(num_blocks) * BlockStride(heads), nan);
  for (size_t s = 0; s < pieces.size(); ++s) {
    const Conversation& conversation = *pieces[s].conversation;
    for (int p = 0; p < pieces[s].end; ++p) {
      if (p >= conversation.period && p < conversation.repeated()) continue;  // there already
      const int block = batch.block_table[s * batch.max_blocks + p / kBlockTokens];
      for (int h = 0; h < heads.kv_heads; ++h) {
        const size_t from = size_t(conversation.Row(p)) * heads.kv_width() + h * d;
        bf16* to = &cache[size_t(block) * BlockStride(heads) + BlockStride(heads) / 2 +
                          (h * 2 * kBlockTokens + p % kBlockTokens) * d];
        std::copy_n(&conversation.k[from], d, to);
        std::copy_n(&conversation.v[from], d, to + kBlockTokens * d);
      }
    }
  }
  return cache;
}

// [T, (H + 2K) * D], k and v NaN.
std::vector<float> FillQkv(const Heads& heads, const std::vector<Piece>& pieces) {
  std::vector<float> qkv;
  for (const Piece& piece : pieces) {
    for (int p = piece.begin; p < piece.end; ++p) {
      const auto q = piece.conversation->q.begin() + piece.conversation->Row(p) * heads.q_width();
      qkv.insert(qkv.end(), q, q + heads.q_width());
      qkv.insert(qkv.end(), 2 * heads.kv_width(), std::nanf(""));
    }
  }
  return qkv;
}

// The tiles' spans before this one.
void LeaveOut(int first_span, std::vector<AttentionTile>& tiles) {
  std::erase_if(tiles, [=](const AttentionTile& tile) {
    return tile.parts > 0 && tile.first_span < first_span;
  });
  for (AttentionTile& tile : tiles) {
    if (tile.parts > 0) {
      tile.part -= first_span;
      tile.parts -= first_span;
    } else {
      tile.first_span += first_span;
      tile.spans -= first_span;
    }
  }
}

}  // namespace

Conversation::Conversation(const Heads& heads, int length, uint32_t seed, int period, int tail)
    : length(length),
      period(period),
      tail(tail),
      q(NormalFloats(size_t(rows()) * heads.q_width(), seed)),
      k(NormalBf16(size_t(rows()) * heads.kv_width(), seed + 1)),
      v(NormalBf16(size_t(rows()) * heads.kv_width(), seed + 2)) {}

int Conversation::TimesInRange(int row, int begin, int end) const {
  if (row >= period) {
    const int position = repeated() + row - period;
    return position >= begin && position < end ? 1 : 0;
  }
  const auto before = [&](int p) {
    p = std::min(p, repeated());
    return p / period + (p % period > row ? 1 : 0);
  };
  return before(end) - before(begin);
}

std::vector<uint16_t> Attend(const Heads& heads, const std::vector<Piece>& pieces,
                             const Launching& launching) {
  KVASIR_CHECK(LoadAttentionKernels() == cudaSuccess);
  int num_blocks = 0;
  const Batch batch = MakeBatch(pieces, &num_blocks);
  const AttentionGrid grid = {heads.group, heads.kv_heads, heads.head_dim, launching.wanted_blocks,
                              launching.wanted_blocks};
  const int max_context =
      *std::max_element(batch.context_length.begin(), batch.context_length.end());
  const AttentionRoom room = RoomForAttention(grid, batch.num_tokens(), batch.num_sequences(),
                                              max_context, launching.partial_bytes);
  AttentionPlan plan;
  PlanAttention(batch, grid, room, plan);
  LeaveOut(launching.first_span, plan.few);
  LeaveOut(launching.first_span, plan.many);

  const DeviceArray<bf16> cache(FillCache(heads, pieces, batch, num_blocks));
  const DeviceArray<float> qkv(FillQkv(heads, pieces));
  const DeviceArray<int> positions(batch.positions);
  const DeviceArray<int> block_table(batch.block_table);
  const DeviceArray<float> partial(room.partial_bytes(grid) / sizeof(float));
  const DeviceArray<unsigned> tickets(
      std::vector<unsigned>(size_t(room.tickets) * heads.kv_heads, 0));
  const DeviceArray<bf16> out(size_t(batch.num_tokens()) * heads.q_width());
  AttentionArgs args;
  args.out = out.get();
  args.qkv = qkv.get();
  args.kv = {cache.get() + BlockStride(heads) / 2, heads.kv_heads, heads.head_dim,
             BlockStride(heads)};
  args.positions = positions.get();
  args.block_table = block_table.get();
  args.heads = heads.heads();
  args.partial = partial.get();
  args.tickets = tickets.get();
  for (const bool few : {true, false}) {
    const std::vector<AttentionTile>& list = few ? plan.few : plan.many;
    const DeviceArray<AttentionTile> tiles(list);
    const DeviceArray<int> count(std::vector<int>{static_cast<int>(list.size())});
    args.tiles = tiles.get();
    args.count = count.get();
    EXPECT_EQ(Attention(args, few, launching.blocks, nullptr), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  for (const unsigned ticket : tickets.Read()) EXPECT_EQ(ticket, 0u);

  std::vector<uint16_t> bits;
  for (const bf16 value : out.Read()) bits.push_back(Bits(value));
  return bits;
}

// Where the error comes from, u the rounding of f32 (twice it where tensor cores cut off what they
// add), b that of bf16:
//   - q and the outputs are rounded to bf16; the reference takes the rounded q.
//   - a score is a chain over D, then scaled by a rounded constant, relative to a maximum by a
//     subtraction and a multiplication: with A >= sum_d |q_d k_d| / sqrt(D) of every key it is off
//     by (2 D + 6) u A. The exponential adds 4 u, the rounding of p adds b.
//   - later tiles bring a weight down by one product each, and a span by two more: 6 u a tile for
//     an exponential and a product, and an exponent of at most 2 A off by 2 u 2 A.
// so that each weight is off by a relative e of the sum of these, which moves the output, a mean of
// values weighted so, by e times the mean distance of the values from it.
//   - sums over the keys: n additions of 2 u relative to the mean of |v|, above and below; a span
//     adds 2; the division 3 u.
Expected Reference(const Heads& heads, const Conversation& conversation, int position,
                   int first_key) {
  const int d = heads.head_dim;
  const int keys = position + 1 - first_key;
  std::vector<std::pair<int, int>> rows;  // of k and v, and how often the row meets them
  for (int row = 0; row < conversation.rows(); ++row) {
    const int times = conversation.TimesInRange(row, first_key, position + 1);
    if (times > 0) rows.emplace_back(row, times);
  }
  Expected expected;
  for (int h = 0; h < heads.heads(); ++h) {
    const float* q = &conversation.q[size_t(conversation.Row(position)) * heads.q_width() + h * d];
    const size_t column = size_t(h / heads.group) * d;
    std::vector<double> weights;
    double largest = -std::numeric_limits<double>::infinity();
    double magnitude = 0;
    for (const auto& [row, times] : rows) {
      const bf16* k = &conversation.k[size_t(row) * heads.kv_width() + column];
      double score = 0;
      double absolute = 0;
      for (int j = 0; j < d; ++j) {
        const double product = double{FromBf16(ToBf16(q[j]))} * FromBf16(k[j]);
        score += product;
        absolute += std::abs(product);
      }
      weights.push_back(score / std::sqrt(d));
      largest = std::max(largest, weights.back());
      magnitude = std::max(magnitude, absolute / std::sqrt(d));
    }
    double sum = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      sum += weights[i] = rows[i].second * std::exp(weights[i] - largest);
    }
    const int tiles = (keys + kKeyTile - 1) / kKeyTile + 2;
    const double weight_error =
        kBf16Rounding + kF32Rounding * ((2 * d + 6) * magnitude + 4 + tiles * (6 + 4 * magnitude));
    const double sum_error = kF32Rounding * (4.0 * keys + 4 * tiles + 3);
    for (int j = 0; j < d; ++j) {
      const auto value = [&](size_t i) {
        return double{
            FromBf16(conversation.v[size_t(rows[i].first) * heads.kv_width() + column + j])};
      };
      double out = 0;
      double absolute = 0;
      double distance = 0;
      for (size_t i = 0; i < rows.size(); ++i) {
        out += weights[i] * value(i) / sum;
        absolute += weights[i] * std::abs(value(i)) / sum;
      }
      for (size_t i = 0; i < rows.size(); ++i) {
        distance += weights[i] * std::abs(value(i) - out) / sum;
      }
      const double error = weight_error * distance / (1 - weight_error) + sum_error * absolute;
      expected.out.push_back(out);
      expected.tolerance.push_back(error + kBf16Rounding * (std::abs(out) + error));
    }
  }
  return expected;
}

void ExpectNear(const Heads& heads, const std::vector<Piece>& pieces,
                const std::vector<uint16_t>& out, int first_span) {
  size_t at = 0;
  for (const Piece& piece : pieces) {
    for (int p = piece.begin; p < piece.end; ++p) {
      const Expected expected = Reference(heads, *piece.conversation, p, first_span * kSpanKeys);
      for (int i = 0; i < heads.q_width(); ++i, ++at) {
        const double error = std::abs(double{ToFloat(BFloat16{out[at]})} - expected.out[i]);
        ASSERT_LE(error, expected.tolerance[i])
            << "position " << p << " column " << i << " expected " << expected.out[i];
      }
    }
  }
}

}  // namespace kvasir::cuda
