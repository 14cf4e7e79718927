#include "tests/gpu/bench_model.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "engine/check.h"
#include "tests/engine/random_weights.h"

namespace kvasir {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::optional<ModelConfig> ShapeNamed(std::string_view name) {
  ModelConfig config;
  config.norm_eps = 1e-6f;
  config.rope_theta = 1e6;
  config.max_positions = 40960;
  config.tied_embeddings = true;
  config.kv_heads = 8;
  config.head_dim = 128;
  config.vocab = 151936;
  if (name == "4b") {
    config.layers = 36;
    config.hidden = 2560;
    config.ffn = 9728;
    config.heads = 32;
  } else if (name == "0.6b") {
    config.layers = 28;
    config.hidden = 1024;
    config.ffn = 3072;
    config.heads = 16;
  } else if (name == "tiny") {
    config.layers = 2;
    config.hidden = 64;
    config.ffn = 96;
    config.heads = 4;
    config.kv_heads = 2;
    config.head_dim = 16;
    config.vocab = 331;
  } else {
    return std::nullopt;
  }
  return config;
}

BenchModel::Limits BenchModel::LimitsOf(const std::vector<StepShape>& steps) {
  Limits limits;
  for (const StepShape& step : steps) {
    limits.step_rows = std::max(limits.step_rows, step.num_rows());
    limits.sequences = std::max(limits.sequences, step.sequences);
    limits.positions = std::max(limits.positions, step.context());
  }
  return limits;
}

absl::StatusOr<std::unique_ptr<BenchModel>> BenchModel::Create(const ModelConfig& config,
                                                               const std::vector<StepShape>& steps,
                                                               BackendChoice choice) {
  KVASIR_CHECK(!steps.empty());
  std::unique_ptr<BenchModel> model(new BenchModel(config));
  const absl::Status status = model->Load(steps, std::move(choice));
  if (!status.ok()) return status;
  return model;
}

absl::Status BenchModel::Load(const std::vector<StepShape>& steps, BackendChoice choice) {
  const Limits limits = LimitsOf(steps);
  const Clock::time_point start = Clock::now();
  choice.gpu.attention = {config_.heads, config_.kv_heads, config_.head_dim, config_.rope_theta,
                          config_.norm_eps};
  choice.gpu.hidden = config_.hidden;
  choice.gpu.ffn = config_.ffn;
  choice.gpu.vocab = config_.vocab;
  choice.gpu.layers = config_.layers;
  choice.gpu.max_positions = limits.positions;
  choice.gpu.max_step_tokens = limits.step_rows;
  choice.gpu.max_sequences = limits.sequences;
  choice.gpu.max_logits = limits.sequences;
  absl::StatusOr<OpenedBackend> opened = OpenBackend(choice);
  if (!opened.ok()) return opened.status();
  backend_ = std::make_unique<GraphSwitch>(std::move(opened->backend));

  start_.weight_bytes = ParameterCount(config_) * int64_t{2};
  start_.workspace_bytes = Qwen3::WorkspaceBytes(config_, backend_->activation_dtype(),
                                                 limits.step_rows, limits.sequences);
  absl::Status status =
      backend_->Plan({.weights = start_.weight_bytes, .workspace = start_.workspace_bytes});
  if (!status.ok()) return status;
  const std::vector<uint16_t> random = RandomBf16(LargestMatrix(config_));
  weights_ = RandomWeights(config_, random, *backend_);
  status = AllocateKv(steps, random);
  if (!status.ok()) return status;
  start_.load_seconds = SecondsSince(start);

  const Clock::time_point loaded = Clock::now();
  model_ =
      std::make_unique<Qwen3>(config_, weights_, *backend_, limits.step_rows, limits.sequences);
  start_.prepare_seconds = SecondsSince(loaded);
  sampling_.temperature = 0.6f;  // what Qwen3 asks for
  sampling_.top_k = 20;
  sampling_.top_p = 0.95f;
  return absl::OkStatus();
}

absl::Status BenchModel::AllocateKv(const std::vector<StepShape>& steps,
                                    const std::vector<uint16_t>& random) {
  const auto block_bytes = static_cast<int64_t>(backend_->KvBlockBytes(config_.layers));
  const int64_t room = backend_->DefaultKvMemory() / block_bytes;
  int64_t blocks = 0;
  for (const StepShape& step : steps) {
    if (step.blocks() <= room) blocks = std::max(blocks, step.blocks());
  }
  if (blocks == 0) return absl::ResourceExhaustedError("no step's KV fits into the memory");
  start_.kv_bytes = blocks * block_bytes;
  const absl::Status status = backend_->AllocateKv(config_.layers, static_cast<int>(blocks));
  if (!status.ok()) return status;
  block_order_.resize(blocks);
  std::iota(block_order_.begin(), block_order_.end(), 0);
  std::shuffle(block_order_.begin(), block_order_.end(), std::mt19937(1));
  const size_t layer_bytes = backend_->KvBlockBytes(1) * blocks;
  const size_t random_bytes = random.size() * sizeof(uint16_t);
  for (int layer = 0; layer < config_.layers; ++layer) {
    auto* to = static_cast<char*>(backend_->Kv(layer).data);
    for (size_t done = 0; done < layer_bytes; done += random_bytes) {
      backend_->Write(to + done, random.data(), std::min(random_bytes, layer_bytes - done));
    }
  }
  return absl::OkStatus();
}

StepWork BenchModel::WorkOf(const StepShape& step) const {
  const double hidden = config_.hidden;
  const double query = double(config_.heads) * config_.head_dim;
  const double layer_weights =
      hidden * config_.qkv_rows() + query * hidden + 3.0 * hidden * config_.ffn;
  const double head_weights = hidden * config_.vocab;
  const double keys = double(step.sequences) * step.context();               // of a layer
  const double key_bytes = 2.0 * 2.0 * config_.kv_heads * config_.head_dim;  // with its value
  // Pairs of a row and a key that it sees.
  const double pairs = double(step.num_rows()) * (step.depth + (step.rows + 1) / 2.0);
  StepWork work;
  work.bytes =
      2.0 * (config_.layers * layer_weights + head_weights) + config_.layers * keys * key_bytes;
  work.flops = config_.layers * (2.0 * step.num_rows() * layer_weights + 4.0 * pairs * query) +
               2.0 * step.sequences * head_weights;
  return work;
}

void BenchModel::Prepare(const StepShape& step) {
  KVASIR_CHECK(Fits(step));
  batch_.Clear();
  rows_.clear();
  const int blocks = step.blocks_each();
  batch_.max_blocks = blocks;
  for (int s = 0; s < step.sequences; ++s) {
    const int* table = block_order_.data() + size_t(s) * blocks;
    for (int position = step.depth; position < step.context(); ++position) {
      batch_.tokens.push_back((s * 7919 + position * 31) % config_.vocab);
      batch_.positions.push_back(position);
      batch_.slots.push_back(table[position / kBlockTokens] * kBlockTokens +
                             position % kBlockTokens);
    }
    batch_.query_start.push_back(batch_.num_tokens());
    batch_.context_length.push_back(step.context());
    batch_.block_table.insert(batch_.block_table.end(), table, table + blocks);
    batch_.logit_rows.push_back(batch_.num_tokens() - 1);
    rows_.push_back(
        {.logits_row = s, .params = &sampling_, .position = static_cast<uint64_t>(step.context())});
  }
}

}  // namespace kvasir
