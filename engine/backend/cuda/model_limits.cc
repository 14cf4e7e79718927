#include "engine/backend/cuda/model_limits.h"

#include <cstddef>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/backend/cuda/gpu_matmul.h"
#include "engine/backend/cuda/kernels.h"
#include "engine/backend/cuda/sample_staging.h"

namespace kvasir::cuda {
namespace {

// Where attention is cut by spans, its states take no more than this.
constexpr size_t kMaxPartialBytes = size_t{256} << 20;

}  // namespace

absl::Status CheckModel(const GpuBackendOptions& options) {
  const AttentionShape& shape = options.attention;
  const auto refuse = [](const char* field, int value, const char* limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: field '", field, "': ", value, ", and a GPU takes ", limit));
  };
  if (shape.head_dim != 16 && shape.head_dim != 32 && shape.head_dim != 64 &&
      shape.head_dim != 128) {
    return refuse("head_dim", shape.head_dim, "16, 32, 64 or 128");
  }
  if (shape.heads / shape.kv_heads > kTileRows) {
    return refuse("num_attention_heads", shape.heads, "at most 16 for each key-value head");
  }
  if (options.vocab > kMaxVocab) return refuse("vocab_size", options.vocab, "at most 262144");
  if (options.hidden % 8 != 0) return refuse("hidden_size", options.hidden, "multiples of 8");
  // KvView counts values in ints.
  if (int64_t{2} * options.layers * shape.kv_heads * kBlockTokens * shape.head_dim >
      std::numeric_limits<int>::max()) {
    return refuse("num_hidden_layers", options.layers, "K and V below 2^31 values a block");
  }
  if (options.ffn % 8 != 0) return refuse("intermediate_size", options.ffn, "multiples of 8");
  return absl::OkStatus();
}

StepLimits LimitsOf(const GpuBackendOptions& options) {
  return {options.max_step_tokens, options.max_sequences, options.max_logits,
          options.max_positions};
}

absl::StatusOr<AttentionGrid> GridOf(const AttentionShape& shape, const Device& device) {
  AttentionGrid grid = {.group = shape.heads / shape.kv_heads,
                        .kv_heads = shape.kv_heads,
                        .head_dim = shape.head_dim};
  for (const bool few : {true, false}) {
    int blocks = 0;
    const cudaError_t error = AttentionBlocksAtOnce(shape.head_dim, few, &blocks);
    if (error != cudaSuccess || blocks < 1) {
      return absl::FailedPreconditionError(absl::StrCat("GPU ", device.index, " (", device.name,
                                                        ") has no room for a block of ",
                                                        "attention: ", cudaGetErrorString(error)));
    }
    (few ? grid.few_blocks : grid.many_blocks) = blocks * device.multiprocessors;
  }
  return grid;
}

AttentionRoom RoomOf(const GpuBackendOptions& options, const AttentionGrid& grid) {
  return RoomForAttention(grid, options.max_step_tokens, options.max_sequences,
                          options.max_positions, kMaxPartialBytes);
}

std::vector<size_t> FixedBytes(const GpuBackendOptions& options, const AttentionGrid& grid) {
  const AttentionRoom room = RoomOf(options, grid);
  const size_t half = options.attention.head_dim / 2;
  const size_t coarse = (size_t(options.max_positions) + kRopeFine - 1) / kRopeFine;
  const size_t step_angles = options.max_step_tokens * half * sizeof(float);
  std::vector<size_t> bytes = {StepStaging::Bytes(LimitsOf(options), room),
                               room.partial_bytes(grid),
                               size_t(room.tickets) * grid.kv_heads * sizeof(unsigned),
                               coarse * half * sizeof(double2),
                               kRopeFine * half * sizeof(double2),
                               step_angles,
                               step_angles};
  if (!options.deterministic) bytes.push_back(GpuMatmul::kWorkspaceBytes);
  const std::vector<size_t> sample = SampleStaging::Bytes(options.max_logits, options.vocab);
  bytes.insert(bytes.end(), sample.begin(), sample.end());
  return bytes;
}

}  // namespace kvasir::cuda
