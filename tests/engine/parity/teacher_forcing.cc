#include "tests/engine/parity/teacher_forcing.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/check.h"

namespace kvasir {
namespace {

// The companion sequence is this long at most: it ends and starts anew beside the watched one.
constexpr int kCompanionTokens = 200;
constexpr int kThreads = 2;

int BlocksFor(int tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

const char* NameOf(Cut cut) {
  switch (cut) {
    case Cut::kOnePiece:
      return "one piece";
    case Cut::kChunks:
      return "chunks";
    case Cut::kSingleTokens:
      return "single tokens";
  }
  return "?";
}

BackendChoice CpuChoice(DType dtype, const std::string& kernel) {
  BackendChoice choice;
  choice.device = "cpu";
  choice.cpu.dtype = dtype;
  choice.cpu.threads = kThreads;
  choice.cpu.kernel = kernel;
  return choice;
}

BackendChoice GpuChoice(const std::string& plugin, bool deterministic) {
  BackendChoice choice;
  choice.device = "cuda";
  choice.plugin = plugin;
  choice.gpu.deterministic = deterministic;
  return choice;
}

absl::StatusOr<std::unique_ptr<TeacherForcing>> TeacherForcing::Load(
    const std::filesystem::path& model_dir, int positions, BackendChoice choice,
    const WrapBackend& wrap) {
  const absl::StatusOr<std::string> json = ReadFile(model_dir / "config.json");
  if (!json.ok()) return json.status();
  absl::StatusOr<ModelConfig> config = ParseModelConfig(*json);
  if (!config.ok()) return config.status();

  std::unique_ptr<TeacherForcing> forcing(new TeacherForcing);
  forcing->positions_ = positions;
  forcing->config_ = *config;
  const int max_rows = positions + kCompanionTokens;
  choice.cpu.attention = {config->heads, config->kv_heads, config->head_dim, config->rope_theta,
                          config->norm_eps};
  choice.gpu.attention = choice.cpu.attention;
  choice.gpu.hidden = config->hidden;
  choice.gpu.ffn = config->ffn;
  choice.gpu.vocab = config->vocab;
  choice.gpu.layers = config->layers;
  choice.gpu.max_positions = positions;
  choice.gpu.max_step_tokens = max_rows;
  choice.gpu.max_sequences = 2;
  choice.gpu.max_logits = positions + 1;
  absl::StatusOr<OpenedBackend> opened = OpenBackend(choice);
  if (!opened.ok()) return opened.status();
  forcing->backend_ = wrap ? wrap(std::move(opened->backend), *config) : std::move(opened->backend);

  absl::StatusOr<Weights> weights = LoadWeights(model_dir, forcing->config_, *forcing->backend_,
                                                [](int64_t /*done*/, int64_t /*total*/) {});
  if (!weights.ok()) return weights.status();
  forcing->weights_ = *std::move(weights);
  const int blocks = BlocksFor(positions) + BlocksFor(kCompanionTokens);
  const absl::Status kv = forcing->backend_->AllocateKv(config->layers, blocks);
  if (!kv.ok()) return kv;
  absl::StatusOr<std::unique_ptr<Qwen3>> model = Qwen3::Create(
      forcing->config_, forcing->weights_, *forcing->backend_, max_rows, positions + 1);
  if (!model.ok()) return model.status();
  forcing->model_ = *std::move(model);
  return forcing;
}

void TeacherForcing::ResetCache() {
  const int blocks = BlocksFor(positions_) + BlocksFor(kCompanionTokens);
  free_blocks_.resize(blocks);
  std::iota(free_blocks_.begin(), free_blocks_.end(), 0);
  std::shuffle(free_blocks_.begin(), free_blocks_.end(), random_);
  // All bits set is a NaN in f32 and in bf16: a slot that is read but was never written shows.
  for (int layer = 0; layer < config_.layers; ++layer) {
    const KvLayer kv = backend_->Kv(layer);
    const std::string nan(backend_->KvBlockBytes(1), '\xff');
    for (int block = 0; block < kv.num_blocks; ++block) {
      backend_->Write(static_cast<char*>(kv.data) + block * kv.block_stride, nan.data(),
                      nan.size());
    }
  }
}

TeacherForcing::Sequence TeacherForcing::Start(std::span<const int> tokens) {
  Sequence sequence;
  sequence.tokens.assign(tokens.begin(), tokens.end());
  const int blocks = BlocksFor(static_cast<int>(tokens.size()));
  KVASIR_CHECK(blocks <= static_cast<int>(free_blocks_.size()));
  sequence.blocks.assign(free_blocks_.end() - blocks, free_blocks_.end());
  free_blocks_.resize(free_blocks_.size() - blocks);
  return sequence;
}

void TeacherForcing::Free(Sequence& sequence) {
  free_blocks_.insert(free_blocks_.begin(), sequence.blocks.begin(), sequence.blocks.end());
  sequence = {};
}

void TeacherForcing::Step(std::span<const Chunk> chunks, const Sequence& watched,
                          const VisitLogits& visit) {
  Batch batch;
  batch.Clear();
  for (const Chunk& chunk : chunks) {
    batch.max_blocks = std::max(batch.max_blocks, static_cast<int>(chunk.sequence->blocks.size()));
  }
  std::vector<int> watched_positions;  // of each row of logits; -1: another sequence's
  for (const Chunk& chunk : chunks) {
    Sequence& sequence = *chunk.sequence;
    for (int i = 0; i < chunk.count; ++i) {
      const int position = sequence.cached + i;
      const bool last = i == chunk.count - 1;
      if (&sequence == &watched || last) {
        batch.logit_rows.push_back(batch.num_tokens());
        watched_positions.push_back(&sequence == &watched ? position : -1);
      }
      batch.tokens.push_back(sequence.tokens[position]);
      batch.positions.push_back(position);
      batch.slots.push_back(sequence.blocks[position / kBlockTokens] * kBlockTokens +
                            position % kBlockTokens);
    }
    sequence.cached += chunk.count;
    batch.query_start.push_back(batch.num_tokens());
    batch.context_length.push_back(sequence.cached);
    // A block that no token has reached is not in the table yet.
    for (int b = 0; b < batch.max_blocks; ++b) {
      batch.block_table.push_back(b < BlocksFor(sequence.cached) ? sequence.blocks[b] : -1);
    }
  }
  const Tensor logits = model_->Forward(batch);  // [R, vocab]
  logits_.resize(size_t(logits.rows) * logits.cols);
  backend_->Read(logits_.data(), logits.data, logits.bytes());
  for (size_t r = 0; r < watched_positions.size(); ++r) {
    if (watched_positions[r] < 0) continue;
    visit(watched_positions[r],
          {logits_.data() + r * size_t(config_.vocab), size_t(config_.vocab)});
  }
}

void TeacherForcing::RunChunks(Sequence& watched, const VisitLogits& visit) {
  const auto draw = [this](int below) {  // 1 .. below
    return 1 + static_cast<int>(random_() % below);
  };
  // Mostly small chunks, so that tile and block edges are met from every side.
  const auto draw_chunk = [&](const Sequence& sequence) {
    return std::min(sequence.remaining(), draw(draw(3) == 1 ? 120 : 20));
  };
  std::vector<int> other(
      watched.tokens.rbegin(),
      watched.tokens.rbegin() + std::min<size_t>(kCompanionTokens, watched.tokens.size()));
  Sequence companion;
  while (watched.remaining() > 0) {
    if (companion.remaining() == 0) {
      Free(companion);
      companion = Start({other.data(), size_t(draw(static_cast<int>(other.size())))});
    }
    std::vector<Chunk> chunks;
    chunks.push_back({&watched, draw_chunk(watched)});
    if (draw(4) > 1) chunks.push_back({&companion, draw_chunk(companion)});
    if (draw(2) == 1) std::reverse(chunks.begin(), chunks.end());
    Step(chunks, watched, visit);
  }
  Free(companion);
}

Distance TeacherForcing::Measure(const Golden& golden, Cut cut, int positions) {
  KVASIR_CHECK(positions <= positions_ && positions <= golden.positions());
  Distance distance;
  const VisitLogits compare = [&](int position, std::span<const float> logits) {
    golden.Compare(position, logits, distance);
  };
  random_.seed(1);
  ResetCache();
  Sequence sequence = Start(std::span(golden.tokens).first(positions));
  if (cut == Cut::kChunks) {
    RunChunks(sequence, compare);
    return distance;
  }
  const int count = cut == Cut::kOnePiece ? sequence.remaining() : 1;
  while (sequence.remaining() > 0) {
    const Chunk chunk{&sequence, count};
    Step({&chunk, 1}, sequence, compare);
  }
  return distance;
}

void TeacherForcing::ReadOnePiece(std::span<const int> tokens) {
  ResetCache();
  Sequence sequence = Start(tokens);
  const Chunk all{&sequence, sequence.remaining()};
  Step({&all, 1}, sequence, [](int /*position*/, std::span<const float> /*logits*/) {});
}

}  // namespace kvasir
