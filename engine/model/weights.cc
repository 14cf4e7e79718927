#include "engine/model/weights.h"

#include <utility>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/model/checkpoint.h"

namespace kvasir {
namespace {

std::string ConfigText(const ModelConfig& c) {
  return absl::StrFormat(
      "qwen3 layers=%d hidden=%d ffn=%d vocab=%d heads=%d kv_heads=%d head_dim=%d theta=%.17g "
      "eps=%.9g positions=%d tied=%d dtype=%s",
      c.layers, c.hidden, c.ffn, c.vocab, c.heads, c.kv_heads, c.head_dim, c.rope_theta, c.norm_eps,
      c.max_positions, c.tied_embeddings, NameOf(c.dtype));
}

// Packs tensors one by one, hashing each on the way.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelConfig& config, Backend& backend,
         const LoadProgress& progress)
      : checkpoint_(checkpoint), backend_(backend), progress_(progress) {
    for (const TensorSpec& spec : ExpectedTensors(config)) {
      total_ += static_cast<int64_t>(checkpoint.Bytes(spec.name).size());
    }
    XXH3_128bits_reset(&hash_);
    Hash(ConfigText(config));
  }

  // The named matrices stacked along their rows.
  PackedWeight Packed(const std::vector<std::string>& names) {
    return Packed(names, [this](const std::vector<HostMatrix>& m) { return backend_.Pack(m); });
  }
  PackedWeight GateUp(const std::string& gate, const std::string& up) {
    return Packed({gate, up}, [this](const std::vector<HostMatrix>& m) {
      return backend_.PackGateUp(m[0], m[1]);
    });
  }

  NormWeight Norm(const std::string& name) {
    if (!status_.ok()) return {};
    HashTensor(name);
    const HostMatrix vector = checkpoint_.Matrix(name);
    NormWeight norm{backend_.UploadVector(vector), vector.cols};
    Check(norm.data != nullptr, name);
    Done(name);
    return norm;
  }
  // RESOURCE_EXHAUSTED where the device had no memory for one of them; after that none is packed.
  const absl::Status& status() const { return status_; }

  std::string Fingerprint() {
    const XXH128_hash_t digest = XXH3_128bits_digest(&hash_);
    return absl::StrFormat("%016x%016x", digest.high64, digest.low64);
  }

 private:
  template <typename Pack>
  PackedWeight Packed(const std::vector<std::string>& names, const Pack& pack) {
    if (!status_.ok()) return {};
    std::vector<HostMatrix> parts;
    for (const std::string& name : names) {
      HashTensor(name);
      parts.push_back(checkpoint_.Matrix(name));
    }
    PackedWeight packed = pack(parts);
    Check(packed.data != nullptr, names[0]);
    for (const std::string& name : names) Done(name);
    return packed;
  }
  void Check(bool has_memory, const std::string& name) {
    if (has_memory || !status_.ok()) return;
    status_ = absl::ResourceExhaustedError(
        absl::StrCat(backend_.device(), " has no memory left for ", name));
  }
  void Hash(std::string_view bytes) { XXH3_128bits_update(&hash_, bytes.data(), bytes.size()); }
  void HashTensor(const std::string& name) {
    Hash(absl::StrCat("\n", name, " ", checkpoint_.Description(name), "\n"));
    Hash(checkpoint_.Bytes(name));
  }
  void Done(const std::string& name) {
    done_ += static_cast<int64_t>(checkpoint_.Bytes(name).size());
    checkpoint_.Release(name);
    if (progress_) progress_(done_, total_);
  }

  const Checkpoint& checkpoint_;
  Backend& backend_;
  const LoadProgress& progress_;
  int64_t done_ = 0;
  int64_t total_ = 0;
  absl::Status status_;
  XXH3_state_t hash_;
};

}  // namespace

std::vector<size_t> WeightBytes(const ModelConfig& config, DType dtype) {
  const size_t hidden = config.hidden;
  const size_t element = SizeOf(dtype);
  const auto norm = [](size_t size) { return size * sizeof(float); };
  std::vector<size_t> bytes(config.tied_embeddings ? 1 : 2, config.vocab * hidden * element);
  for (int i = 0; i < config.layers; ++i) {
    bytes.insert(bytes.end(),
                 {norm(hidden), config.qkv_rows() * hidden * element, norm(config.head_dim),
                  norm(config.head_dim), hidden * config.heads * config.head_dim * element,
                  norm(hidden), 2 * hidden * config.ffn * element, hidden * config.ffn * element});
  }
  bytes.push_back(norm(hidden));
  return bytes;
}

absl::StatusOr<Weights> LoadWeights(const std::filesystem::path& dir, const ModelConfig& config,
                                    Backend& backend, const LoadProgress& progress) {
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(dir, config);
  if (!checkpoint.ok()) return checkpoint.status();
  Loader loader(*checkpoint, config, backend, progress);
  Weights weights;
  // The largest first: while one is packed its source is in memory too.
  weights.embedding = loader.Packed({"model.embed_tokens.weight"});
  if (!config.tied_embeddings) weights.lm_head = loader.Packed({"lm_head.weight"});
  for (int i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    LayerWeights layer;
    layer.input_norm = loader.Norm(prefix + "input_layernorm.weight");
    layer.qkv =
        loader.Packed({prefix + "self_attn.q_proj.weight", prefix + "self_attn.k_proj.weight",
                       prefix + "self_attn.v_proj.weight"});
    layer.q_norm = loader.Norm(prefix + "self_attn.q_norm.weight");
    layer.k_norm = loader.Norm(prefix + "self_attn.k_norm.weight");
    layer.o = loader.Packed({prefix + "self_attn.o_proj.weight"});
    layer.post_norm = loader.Norm(prefix + "post_attention_layernorm.weight");
    layer.gate_up = loader.GateUp(prefix + "mlp.gate_proj.weight", prefix + "mlp.up_proj.weight");
    layer.down = loader.Packed({prefix + "mlp.down_proj.weight"});
    if (!loader.status().ok()) return loader.status();
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = loader.Norm("model.norm.weight");
  if (!loader.status().ok()) return loader.status();
  weights.fingerprint = loader.Fingerprint();
  return weights;
}

}  // namespace kvasir
