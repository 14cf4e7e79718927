#include "tests/gpu/bench_model.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <utility>

#include "engine/check.h"
#include "engine/schedule/scheduler.h"
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
  const Clock::time_point start = Clock::now();
  choice.gpu.attention = {config_.heads, config_.kv_heads, config_.head_dim, config_.rope_theta,
                          config_.norm_eps};
  choice.gpu.hidden = config_.hidden;
  choice.gpu.ffn = config_.ffn;
  choice.gpu.vocab = config_.vocab;
  choice.gpu.layers = config_.layers;
  choice.gpu.max_positions = static_cast<int>(config_.max_positions);
  for (const StepShape& step : steps) {
    choice.gpu.max_sequences = std::max(choice.gpu.max_sequences, step.sequences);
  }
  choice.gpu.max_logits = choice.gpu.max_sequences + SchedulerLimits().max_prompt_logits;
  max_rows_ = choice.gpu.max_step_tokens;
  absl::StatusOr<OpenedBackend> opened = OpenBackend(choice);
  if (!opened.ok()) return opened.status();
  backend_ = std::make_unique<GraphSwitch>(std::move(opened->backend));

  const std::vector<size_t> weights = WeightBytes(config_, DType::kBf16);
  const std::vector<size_t> workspace = Qwen3::WorkspaceBytes(config_, backend_->activation_dtype(),
                                                              max_rows_, choice.gpu.max_logits);
  start_.weight_bytes =
      static_cast<int64_t>(std::accumulate(weights.begin(), weights.end(), size_t{0}));
  start_.workspace_bytes =
      static_cast<int64_t>(std::accumulate(workspace.begin(), workspace.end(), size_t{0}));
  absl::Status status = backend_->Plan({.weights = weights, .workspace = workspace});
  if (!status.ok()) return status;
  const std::vector<uint16_t> random = RandomBf16(LargestMatrix(config_));
  weights_ = RandomWeights(config_, random, *backend_);
  status = AllocateKv(steps, random);
  if (!status.ok()) return status;
  start_.load_seconds = SecondsSince(start);

  const Clock::time_point loaded = Clock::now();
  absl::StatusOr<std::unique_ptr<Qwen3>> model =
      Qwen3::Create(config_, weights_, *backend_, max_rows_, choice.gpu.max_logits);
  if (!model.ok()) return model.status();
  model_ = *std::move(model);
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
  const KvLayer first = backend_->Kv(0);  // the others' come behind it in each block
  const size_t random_bytes = random.size() * sizeof(uint16_t);
  const size_t all = first.block_stride * blocks;
  for (size_t done = 0; done < all; done += random_bytes) {
    backend_->Write(static_cast<char*>(first.data) + done, random.data(),
                    std::min(random_bytes, all - done));
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

void BenchModel::AddRows(const StepShape& step, int sequence, int begin, int end,
                         Batch& batch) const {
  const int* table = block_order_.data() + size_t(sequence) * step.blocks_each();
  for (int position = begin; position < end; ++position) {
    batch.tokens.push_back((sequence * 7919 + position * 31) % config_.vocab);
    batch.positions.push_back(position);
    batch.slots.push_back(table[position / kBlockTokens] * kBlockTokens + position % kBlockTokens);
  }
  batch.query_start.push_back(batch.num_tokens());
  batch.context_length.push_back(end);
  batch.block_table.insert(batch.block_table.end(), table, table + step.blocks_each());
  if (end == step.context()) batch.logit_rows.push_back(batch.num_tokens() - 1);
}

void BenchModel::Prepare(const StepShape& step) {
  KVASIR_CHECK(Fits(step) && (step.sequences == 1 || step.num_rows() <= max_rows_));
  const int piece_rows = std::min(step.rows, max_rows_);
  pieces_.clear();
  next_ = 0;
  for (int begin = step.depth; begin < step.context(); begin += piece_rows) {
    Batch& batch = pieces_.emplace_back();
    batch.Clear();
    batch.max_blocks = step.blocks_each();
    const int end = std::min(begin + piece_rows, step.context());
    for (int s = 0; s < step.sequences; ++s) AddRows(step, s, begin, end, batch);
  }
  rows_.clear();
  for (int s = 0; s < step.sequences; ++s) {
    rows_.push_back(
        {.logits_row = s, .params = &sampling_, .position = static_cast<uint64_t>(step.context())});
  }
}

void BenchModel::Enqueue() {
  const Batch& batch = pieces_[next_++ % pieces_.size()];
  const Tensor logits = model_->Forward(batch);
  backend_->Sample(logits, std::span(rows_).first(batch.num_logits()));
}

}  // namespace kvasir
