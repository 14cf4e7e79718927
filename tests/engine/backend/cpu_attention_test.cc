// NormRopeStore and Attention together, over a paged cache whose every unused byte is a NaN.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "tests/engine/backend/cpu_backend_testing.h"

namespace kvasir {
namespace {

using CpuAttentionTest = CpuNumericsTest;
KVASIR_INSTANTIATE_NUMERICS(CpuAttentionTest);

// One sequence's q, k and v for all its positions, before norm and rotation.
struct Conversation {
  Matrix qkv;  // [length, (H + 2K) * D]
  int length() const { return qkv.rows(); }
};

// Rows [first, first + count) of a conversation: what it contributes to one step.
struct Chunk {
  int conversation = 0;
  int first = 0;
  int count = 0;
};
using Step = std::vector<Chunk>;

class PagedRun {
 public:
  PagedRun(const Numerics& numerics, int threads, const AttentionShape& shape,
           std::vector<Conversation>& conversations, uint32_t seed)
      : shape_(shape),
        backend_(MakeBackend(numerics, threads, shape)),
        conversations_(conversations),
        q_norm_(Matrix::Normal(1, shape.head_dim, DType::kF32, 100)),
        k_norm_(Matrix::Normal(1, shape.head_dim, DType::kF32, 101)),
        tables_(conversations.size()) {
    int blocks = 3;
    for (const Conversation& c : conversations) blocks += c.length() / kBlockTokens + 1;
    KVASIR_CHECK(backend_->AllocateKv(1, blocks).ok());
    std::memset(backend_->Kv(0).data, 0xff, blocks * backend_->KvBlockBytes(1));  // NaN
    for (int i = 0; i < blocks; ++i) free_.push_back(i);
    std::shuffle(free_.begin(), free_.end(), std::mt19937(seed));
    for (const Conversation& c : conversations) {
      out_.emplace_back(c.length(), shape.heads * shape.head_dim, backend_->activation_dtype());
    }
  }

  void Run(const Step& step) {
    Batch batch;
    batch.Clear();
    size_t max_blocks = 0;
    std::vector<char> rows;
    for (const Chunk& chunk : step) {
      std::vector<int>& table = tables_[chunk.conversation];
      Matrix& qkv = conversations_[chunk.conversation].qkv;
      while (int(table.size()) * kBlockTokens < chunk.first + chunk.count) {
        table.push_back(free_.back());
        free_.pop_back();
      }
      max_blocks = std::max(max_blocks, table.size());
      for (int p = chunk.first; p < chunk.first + chunk.count; ++p) {
        batch.tokens.push_back(0);
        batch.positions.push_back(p);
        batch.slots.push_back(table[p / kBlockTokens] * kBlockTokens + p % kBlockTokens);
        const std::string row = qkv.Row(p);
        rows.insert(rows.end(), row.begin(), row.end());
      }
      batch.query_start.push_back(batch.num_tokens());
      batch.context_length.push_back(chunk.first + chunk.count);
    }
    batch.max_blocks = static_cast<int>(max_blocks);
    for (const Chunk& chunk : step) {
      std::vector<int> table = tables_[chunk.conversation];
      table.resize(max_blocks, -1);
      batch.block_table.insert(batch.block_table.end(), table.begin(), table.end());
    }
    const int cols = conversations_[0].qkv.cols();
    const Tensor qkv = {rows.data(), DType::kF32, batch.num_tokens(), cols};
    Matrix out(batch.num_tokens(), shape_.heads * shape_.head_dim, backend_->activation_dtype());
    const DeviceBatch& staged = backend_->Stage(batch);
    backend_->NormRopeStore(qkv, q_norm_.tensor(), k_norm_.tensor(), backend_->Kv(0), staged);
    backend_->Attention(out.tensor(), qkv, backend_->Kv(0), staged);
    int row = 0;
    for (const Chunk& chunk : step) {
      for (int p = chunk.first; p < chunk.first + chunk.count; ++p) {
        const std::string bytes = out.Row(row++);
        Matrix& all = out_[chunk.conversation];
        std::copy(bytes.begin(), bytes.end(), all.bytes().begin() + p * bytes.size());
      }
    }
  }

  // Everything in steps of random chunks, conversations at different places and in random company.
  void RunInRandomChunks(std::mt19937& random, int largest) {
    std::vector<int> next(conversations_.size(), 0);
    for (;;) {
      Step step;
      bool done = true;
      for (int i = 0; i < static_cast<int>(next.size()); ++i) {
        const int left = conversations_[i].length() - next[i];
        if (left == 0) continue;
        done = false;
        if (random() % 3 == 0) continue;
        const int most = random() % 2 == 0 ? 1 : largest;
        const int count = 1 + int(random() % std::min(left, most));
        step.push_back({i, next[i], count});
        next[i] += count;
      }
      if (done) return;
      std::shuffle(step.begin(), step.end(), random);
      if (!step.empty()) Run(step);
    }
  }

  const Matrix& out(int conversation) const { return out_[conversation]; }
  const Matrix& q_norm() const { return q_norm_; }
  const Matrix& k_norm() const { return k_norm_; }
  DType activation() const { return backend_->activation_dtype(); }

 private:
  const AttentionShape shape_;
  std::unique_ptr<Backend> backend_;
  std::vector<Conversation>& conversations_;
  Matrix q_norm_, k_norm_;
  std::vector<std::vector<int>> tables_;
  std::vector<int> free_;
  std::vector<Matrix> out_;
};

std::vector<Conversation> RandomConversations(const AttentionShape& shape,
                                              const std::vector<int>& lengths) {
  std::vector<Conversation> all;
  const int cols = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  for (const int length : lengths) {
    all.push_back({Matrix::Normal(length, cols, DType::kF32, uint32_t(length))});
  }
  return all;
}

using Vector = std::vector<double>;

Vector NormAndRotate(const Matrix& qkv, int position, int column, const Matrix& w,
                     const AttentionShape& shape) {
  const int d = shape.head_dim;
  Vector x(d), out(d);
  double squares = 0;
  for (int i = 0; i < d; ++i) squares += std::pow(double(qkv.At(position, column + i)), 2);
  for (int i = 0; i < d; ++i) {
    x[i] =
        qkv.At(position, column + i) / std::sqrt(squares / d + double(shape.norm_eps)) * w.At(0, i);
  }
  for (int i = 0; i < d / 2; ++i) {
    const double angle = position * std::pow(shape.rope_theta, -2.0 * i / d);
    out[i] = x[i] * std::cos(angle) - x[i + d / 2] * std::sin(angle);
    out[i + d / 2] = x[i] * std::sin(angle) + x[i + d / 2] * std::cos(angle);
  }
  return out;
}

double Norm(const Vector& x) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  return std::sqrt(squares);
}

// Attention in double at the given positions, and how far the backend may be from it:
//  - a score: each of q and k is rounded (bf16 or f32) and has run through norm and rotation in f32
//    (D/2 + 10 roundings), the dot rounds D times: |error| <= scale |q| |k| e by Cauchy-Schwarz;
//  - a weight p: relative exp(2 score error) - 1, for the sum is off in the same way, and then exp
//    (2 ulp), the sum's additions (keys / 16 of them a lane) and p's own rounding;
//  - v's rounding and the sum of p v: one rounding a key; the quotient's and the output's.
void ExpectAttention(const PagedRun& run, const Conversation& c, int conversation,
                     const AttentionShape& shape, DType dtype, const std::vector<int>& positions) {
  const int d = shape.head_dim;
  const double kv_rounding = dtype == DType::kBf16 ? kBf16Rounding : kF32Rounding;
  const double rounding = run.activation() == DType::kBf16 ? kBf16Rounding : kF32Rounding;
  const double score_error =
      kv_rounding + rounding + 2 * (d / 2.0 + 10) * kF32Rounding + d * kF32Rounding;
  for (int kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
    std::vector<Vector> keys;
    for (int p = 0; p < c.length(); ++p) {
      keys.push_back(NormAndRotate(c.qkv, p, (shape.heads + kv_head) * d, run.k_norm(), shape));
    }
    const int group = shape.heads / shape.kv_heads;
    for (int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      for (const int position : positions) {
        const Vector q = NormAndRotate(c.qkv, position, h * d, run.q_norm(), shape);
        Vector weights(position + 1);
        double greatest = -INFINITY, longest = 0, sum = 0;
        for (int p = 0; p <= position; ++p) {
          for (int i = 0; i < d; ++i) weights[p] += q[i] * keys[p][i] / std::sqrt(double(d));
          greatest = std::max(greatest, weights[p]);
          longest = std::max(longest, Norm(keys[p]));
        }
        for (double& w : weights) sum += (w = std::exp(w - greatest));
        const double off = score_error * Norm(q) * longest / std::sqrt(double(d));
        const double relative =
            std::expm1(2 * off) + rounding * 2 + kv_rounding + (2.0 * position + 20) * kF32Rounding;
        for (int i = 0; i < d; ++i) {
          double expected = 0, magnitude = 0;
          for (int p = 0; p <= position; ++p) {
            const double v = c.qkv.At(p, (shape.heads + shape.kv_heads + kv_head) * d + i);
            expected += weights[p] / sum * v;
            magnitude += weights[p] / sum * std::abs(v);
          }
          const double got = run.out(conversation).At(position, h * d + i);
          ASSERT_LE(std::abs(got - expected), relative * magnitude)
              << "conversation " << conversation << " head " << h << " position " << position;
        }
      }
    }
  }
}

TEST_P(CpuAttentionTest, AgreesWithDoublePrecisionOnRaggedBatches) {
  for (const AttentionShape& shape :
       {AttentionShape{4, 2, 32, 1e4, 1e-6f}, AttentionShape{3, 3, 20, 1e6, 1e-6f},
        AttentionShape{8, 1, 48, 5e6, 1e-6f}, AttentionShape{7, 1, 64, 5e6, 1e-5f},
        AttentionShape{2, 1, 128, 5e6, 1e-6f}}) {
    SCOPED_TRACE(testing::Message() << "head_dim " << shape.head_dim);
    std::vector<Conversation> conversations = RandomConversations(shape, {1, 15, 33, 150});
    PagedRun run(GetParam(), 2, shape, conversations, 1);
    std::mt19937 random(2);
    run.RunInRandomChunks(random, 70);
    for (int i = 0; i < 4; ++i) {
      std::vector<int> positions;
      for (int p = 0; p < conversations[i].length(); p += 1 + p / 8) positions.push_back(p);
      positions.push_back(conversations[i].length() - 1);
      ExpectAttention(run, conversations[i], i, shape, GetParam().dtype, positions);
    }
  }
}

TEST_P(CpuAttentionTest, AgreesWithDoublePrecisionOverManySpans) {
  const AttentionShape shape = {4, 2, 32, 1e6, 1e-6f};
  std::vector<Conversation> conversations = RandomConversations(shape, {1300});
  PagedRun run(GetParam(), 5, shape, conversations, 3);
  run.Run({{0, 0, 700}});
  run.Run({{0, 700, 599}});
  run.Run({{0, 1299, 1}});
  ExpectAttention(run, conversations[0], 0, shape, GetParam().dtype,
                  {0, 127, 128, 511, 512, 699, 700, 1023, 1024, 1298, 1299});
}

TEST_P(CpuAttentionTest, BitsDoNotDependOnTheCut) {
  for (const AttentionShape& shape :
       {AttentionShape{4, 2, 32, 1e4, 1e-6f}, AttentionShape{3, 1, 20, 1e4, 1e-6f}}) {
    std::vector<Conversation> conversations = RandomConversations(shape, {90, 301, 1100});
    std::vector<std::vector<char>> expected;
    {
      PagedRun whole(GetParam(), 1, shape, conversations, 4);
      for (int i = 0; i < 3; ++i) whole.Run({{i, 0, conversations[i].length()}});
      for (int i = 0; i < 3; ++i) {
        Matrix out = whole.out(i);
        expected.push_back(out.bytes());
      }
    }
    int round = 0;
    for (const int threads : {1, 2, 5}) {
      for (const int largest : {20, 400}) {
        PagedRun run(GetParam(), threads, shape, conversations, 5 + ++round);
        std::mt19937 random(round);
        run.RunInRandomChunks(random, largest);
        for (int i = 0; i < 3; ++i) {
          Matrix out = run.out(i);
          ASSERT_TRUE(out.bytes() == expected[i])
              << "conversation " << i << ", " << threads << " threads, chunks to " << largest;
        }
      }
    }
  }
}

// What an earlier owner left in a block is never used, nor what lies behind the context.
TEST_P(CpuAttentionTest, NeverUsesUnstoredSlots) {
  const AttentionShape shape = {2, 1, 16, 1e4, 1e-6f};
  std::vector<Conversation> conversations = RandomConversations(shape, {47});
  PagedRun run(GetParam(), 1, shape, conversations, 6);
  for (int p = 0; p < 47; ++p) {
    run.Run({{0, p, 1}});  // every fill of the last block, even and odd
    for (int i = 0; i < run.out(0).cols(); ++i) ASSERT_TRUE(std::isfinite(run.out(0).At(p, i)));
  }
}

TEST_P(CpuAttentionTest, NanInAKeyPasses) {
  const AttentionShape shape = {2, 1, 32, 1e4, 1e-6f};
  std::vector<Conversation> conversations = RandomConversations(shape, {40});
  conversations[0].qkv.Set(20, 2 * 32 + 5, std::nanf(""));
  PagedRun run(GetParam(), 1, shape, conversations, 7);
  run.Run({{0, 0, 40}});
  for (int p = 0; p < 40; ++p) EXPECT_EQ(std::isnan(run.out(0).At(p, 0)), p >= 20) << p;
}

}  // namespace
}  // namespace kvasir
