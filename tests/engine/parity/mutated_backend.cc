#include "tests/engine/parity/mutated_backend.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "engine/check.h"

namespace kvasir {
namespace {

constexpr double kHardCodedTheta = 1e6;
constexpr int kShortTable = 512;

class MutatedBackend : public Backend {
 public:
  MutatedBackend(std::unique_ptr<Backend> inner, const ModelConfig& config, Mutation mutation,
                 int first_layer)
      : inner_(std::move(inner)), config_(config), planted_(mutation), first_layer_(first_layer) {}

  std::string device() const override { return inner_->device(); }
  std::string numerics() const override { return inner_->numerics() + ", scalar attention"; }
  DType activation_dtype() const override { return inner_->activation_dtype(); }
  std::unique_ptr<Buffer> Allocate(size_t bytes) override { return inner_->Allocate(bytes); }
  PackedWeight Pack(std::span<const HostMatrix> parts) override { return inner_->Pack(parts); }
  std::unique_ptr<Buffer> UploadVector(const HostMatrix& vector) override {
    return inner_->UploadVector(vector);
  }
  const DeviceBatch& Stage(const Batch& batch) override { return inner_->Stage(batch); }
  void Embed(Tensor x, const PackedWeight& table, const DeviceBatch& batch) override {
    inner_->Embed(x, table, batch);
  }
  void Matmul(Tensor out, Tensor x, const PackedWeight& w) override { inner_->Matmul(out, x, w); }
  void SiluMul(Tensor out, Tensor gate_up) override { inner_->SiluMul(out, gate_up); }
  void GatherRows(Tensor out, Tensor x, const DeviceBatch& batch) override {
    inner_->GatherRows(out, x, batch);
  }
  void Sample(Tensor logits, std::span<const SamplingRow> rows) override {
    inner_->Sample(logits, rows);
  }
  std::span<const SampledToken> Collect() override { return inner_->Collect(); }
  // Nothing here shares blocks.
  void CopyBlocks(std::span<const BlockCopy> /*copies*/) override { KVASIR_CHECK(false); }

  int64_t DefaultKvMemory() const override { return inner_->DefaultKvMemory(); }
  void UseThisThread() override { inner_->UseThisThread(); }
  void Read(void* to, const void* from, size_t bytes) override { inner_->Read(to, from, bytes); }
  void Write(void* to, const void* from, size_t bytes) override { inner_->Write(to, from, bytes); }
  absl::Status AllocateKv(int layers, int num_blocks) override {
    num_blocks_ = num_blocks;
    kv_.assign(layers, std::vector<float>(KvBlockBytes(1) * num_blocks / sizeof(float)));
    return absl::OkStatus();
  }
  KvLayer Kv(int layer) override { return {kv_[layer].data(), num_blocks_, KvBlockBytes(1)}; }
  size_t KvBlockBytes(int layers) const override {
    return size_t(layers) * kBlockTokens * SlotFloats() * sizeof(float);
  }

  void AddRmsNorm(Tensor out, Tensor residual, Tensor x, Tensor w, float eps) override;
  void NormRopeStore(Tensor qkv, Tensor q_norm, Tensor k_norm, KvLayer kv,
                     const DeviceBatch& batch) override;
  void Attention(Tensor out, Tensor qkv, KvLayer kv, const DeviceBatch& batch) override;

 private:
  // One slot: k [K, D], then v [K, D].
  size_t SlotFloats() const { return size_t(2) * config_.kv_heads * config_.head_dim; }
  int HeadDimOfHidden() const { return config_.hidden / config_.heads; }
  Mutation MutationOf(KvLayer kv) const {
    int layer = 0;
    while (kv_[layer].data() != kv.data) ++layer;
    return layer >= first_layer_ ? planted_ : Mutation::kNone;
  }
  // cos and sin of each pair's angle: [D/2] each.
  void Angles(Mutation mutation, int position, std::vector<float>& cos,
              std::vector<float>& sin) const;
  void NormRope(Mutation mutation, float* head, const float* weight, const std::vector<float>& cos,
                const std::vector<float>& sin) const;
  void AttendRow(Mutation mutation, const float* q, const float* kv, const int* blocks, int visible,
                 float* out);

  const std::unique_ptr<Backend> inner_;
  const ModelConfig config_;
  const Mutation planted_;
  const int first_layer_;
  int num_blocks_ = 0;
  std::vector<std::vector<float>> kv_;  // per layer: [num_blocks, kBlockTokens, 2, K, D]
  std::vector<float> scores_;           // of one row and head
};

void MutatedBackend::AddRmsNorm(Tensor out, Tensor residual, Tensor x, Tensor w, float eps) {
  if (planted_ != Mutation::kNormPlusOne) return inner_->AddRmsNorm(out, residual, x, w, eps);
  std::vector<float> mutated(w.as<float>(), w.as<float>() + w.cols);
  for (float& weight : mutated) weight += 1;
  inner_->AddRmsNorm(out, residual, x, {mutated.data(), DType::kF32, 1, w.cols}, eps);
}

void MutatedBackend::Angles(Mutation mutation, int position, std::vector<float>& cos,
                            std::vector<float>& sin) const {
  const int half = config_.head_dim / 2;
  double theta = config_.rope_theta;
  double dim = config_.head_dim;
  if (mutation == Mutation::kThetaHardCoded) theta = kHardCodedTheta;
  if (mutation == Mutation::kHeadDimOfHiddenInRope) dim = HeadDimOfHidden();
  if (mutation == Mutation::kRopeTableShort) position = std::min(position, kShortTable - 1);
  cos.resize(half);
  sin.resize(half);
  for (int i = 0; i < half; ++i) {
    const double angle = position * std::pow(theta, -2 * i / dim);
    cos[i] = static_cast<float>(std::cos(angle));
    sin[i] = static_cast<float>(std::sin(angle));
  }
}

void MutatedBackend::NormRope(Mutation mutation, float* head, const float* weight,
                              const std::vector<float>& cos, const std::vector<float>& sin) const {
  const int dim = config_.head_dim;
  const auto norm = [&] {
    double squares = 0;
    for (int i = 0; i < dim; ++i) squares += double(head[i]) * head[i];
    const double scale = 1 / std::sqrt(squares / dim + config_.norm_eps);
    const float plus = mutation == Mutation::kHeadNormPlusOne ? 1 : 0;
    for (int i = 0; i < dim; ++i) {
      head[i] = static_cast<float>(head[i] * scale) * (weight[i] + plus);
    }
  };
  if (mutation != Mutation::kRopeBeforeNorm) norm();
  const bool interleaved = mutation == Mutation::kInterleavedPairs;
  for (int i = 0; i < dim / 2; ++i) {
    float& a = head[interleaved ? 2 * i : i];
    float& b = head[interleaved ? 2 * i + 1 : i + dim / 2];
    const float turned = a * cos[i] - b * sin[i];
    b = b * cos[i] + a * sin[i];
    a = turned;
  }
  if (mutation == Mutation::kRopeBeforeNorm) norm();
}

void MutatedBackend::NormRopeStore(Tensor qkv, Tensor q_norm, Tensor k_norm, KvLayer kv,
                                   const DeviceBatch& batch) {
  const Mutation mutation = MutationOf(kv);
  const int dim = config_.head_dim;
  const int kv_floats = config_.kv_heads * dim;
  std::vector<float> cos, sin;
  for (int s = 0; s < batch.num_sequences; ++s) {
    const int start = batch.query_start[s];
    for (int t = start; t < batch.query_start[s + 1]; ++t) {
      int position = batch.positions[t];
      if (mutation == Mutation::kPositionsRestart) position -= batch.positions[start];
      Angles(mutation, position, cos, sin);
      float* row = qkv.as<float>() + size_t(t) * qkv.cols;
      for (int h = 0; h < config_.heads + config_.kv_heads; ++h) {
        const Tensor& weight = h < config_.heads ? q_norm : k_norm;
        NormRope(mutation, row + h * dim, weight.as<float>(), cos, sin);
      }
      float* slot = static_cast<float*>(kv.data) + batch.slots[t] * SlotFloats();
      std::copy_n(row + config_.heads * dim, 2 * kv_floats, slot);
    }
  }
}

void MutatedBackend::AttendRow(Mutation mutation, const float* q, const float* kv,
                               const int* blocks, int visible, float* out) {
  const int dim = config_.head_dim;
  const int group = config_.heads / config_.kv_heads;
  const int scale_dim = mutation == Mutation::kHeadDimOfHiddenInScale ? HeadDimOfHidden() : dim;
  const float scale = static_cast<float>(1 / std::sqrt(double(scale_dim)));
  scores_.resize(visible);
  for (int h = 0; h < config_.heads; ++h) {
    const int g = mutation == Mutation::kGroupsInterleaved ? h % config_.kv_heads : h / group;
    const auto key = [&](int j) {
      const size_t slot = size_t(blocks[j / kBlockTokens]) * kBlockTokens + j % kBlockTokens;
      return kv + slot * SlotFloats() + g * dim;
    };
    float max = -INFINITY;
    for (int j = 0; j < visible; ++j) {
      const float* k = key(j);
      float dot = 0;
      for (int i = 0; i < dim; ++i) dot += q[h * dim + i] * k[i];
      scores_[j] = dot * scale;
      max = std::max(max, scores_[j]);
    }
    float* o = out + h * dim;
    std::fill_n(o, dim, 0.0f);
    double sum = 0;
    for (int j = 0; j < visible; ++j) {
      const float p = std::exp(scores_[j] - max);
      const float* v = key(j) + config_.kv_heads * dim;
      sum += p;
      for (int i = 0; i < dim; ++i) o[i] += p * v[i];
    }
    for (int i = 0; i < dim; ++i) o[i] = static_cast<float>(o[i] / sum);
  }
}

void MutatedBackend::Attention(Tensor out, Tensor qkv, KvLayer kv, const DeviceBatch& batch) {
  const Mutation mutation = MutationOf(kv);
  std::vector<float> attended(out.cols);
  for (int s = 0; s < batch.num_sequences; ++s) {
    const int start = batch.query_start[s];
    const int rows = batch.query_start[s + 1] - start;
    const int context = batch.context_length[s];
    for (int r = 0; r < rows; ++r) {
      int visible = context - rows + r + 1;
      if (mutation == Mutation::kMaskFromChunkStart) visible = r + 1;
      if (mutation == Mutation::kNoMaskOnWarmCache && context > rows) visible = context;
      if (mutation == Mutation::kSingleRowBlind && rows == 1) visible = std::max(1, visible - 1);
      const int t = start + r;
      AttendRow(mutation, qkv.as<float>() + size_t(t) * qkv.cols,
                static_cast<const float*>(kv.data), batch.block_table + s * batch.max_blocks,
                visible, attended.data());
      for (int i = 0; i < out.cols; ++i) {
        const size_t at = size_t(t) * out.cols + i;
        if (out.dtype == DType::kF32) {
          out.as<float>()[at] = attended[i];
        } else {
          out.as<BFloat16>()[at] = ToBFloat16(attended[i]);
        }
      }
    }
  }
}

}  // namespace

const char* NameOf(Mutation mutation) {
  switch (mutation) {
    case Mutation::kNone:
      return "none";
    case Mutation::kRopeBeforeNorm:
      return "RoPE before the norm";
    case Mutation::kInterleavedPairs:
      return "interleaved pairs";
    case Mutation::kHeadDimOfHiddenInRope:
      return "head_dim = hidden/heads, in RoPE";
    case Mutation::kHeadDimOfHiddenInScale:
      return "head_dim = hidden/heads, in the scale";
    case Mutation::kThetaHardCoded:
      return "theta hard-coded (1e6)";
    case Mutation::kRopeTableShort:
      return "RoPE table shorter than the context (512)";
    case Mutation::kMaskFromChunkStart:
      return "mask of a chunk counted from its start";
    case Mutation::kNoMaskOnWarmCache:
      return "no mask inside a chunk on a warm cache";
    case Mutation::kPositionsRestart:
      return "positions restart on a warm cache";
    case Mutation::kSingleRowBlind:
      return "a single row does not see its own key";
    case Mutation::kNormPlusOne:
      return "norm weight + 1";
    case Mutation::kHeadNormPlusOne:
      return "q_norm and k_norm weight + 1";
    case Mutation::kGroupsInterleaved:
      return "query head h reads kv head h % K";
  }
  return "?";
}

std::unique_ptr<Backend> CreateMutatedBackend(std::unique_ptr<Backend> inner,
                                              const ModelConfig& config, Mutation mutation,
                                              int first_layer) {
  return std::make_unique<MutatedBackend>(std::move(inner), config, mutation, first_layer);
}

}  // namespace kvasir
