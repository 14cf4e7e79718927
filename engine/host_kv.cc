#include "engine/host_kv.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/batch.h"

namespace kvasir {
namespace {

// Enough for the bus to be the limit.
constexpr int kProbeBlocks = 32;
constexpr int kRepetitions = 3;

int BlocksIn(int64_t bytes, size_t block_bytes) {
  return static_cast<int>(std::min<int64_t>(bytes / static_cast<int64_t>(block_bytes),
                                            std::numeric_limits<int>::max()));
}

// The shortest of some repetitions, after one that does not count.
double Seconds(Backend& backend, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  double shortest = std::numeric_limits<double>::infinity();
  for (int i = 0; i <= kRepetitions; ++i) {
    const Clock::time_point begin = Clock::now();
    work();
    char byte = 0;
    backend.Read(&byte, backend.Kv(0).data, 1);  // waits
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (i > 0) shortest = std::min(shortest, seconds);
  }
  return shortest;
}

// The beginning of a prompt, in the pool's first blocks.
Batch Prompt(int rows) {
  Batch batch;
  batch.Clear();
  for (int row = 0; row < rows; ++row) {
    batch.tokens.push_back(0);
    batch.positions.push_back(row);
    batch.slots.push_back(row);
    if (row % kBlockTokens == 0) batch.block_table.push_back(row / kBlockTokens);
  }
  batch.query_start.push_back(rows);
  batch.context_length.push_back(rows);
  batch.max_blocks = static_cast<int>(batch.block_table.size());
  return batch;
}

// REQUIRES: `blocks` blocks in the host's memory.
HostKvCosts Measure(int blocks, int rows, Backend& backend, Qwen3& model) {
  std::vector<BlockCopy> copies;
  for (const BlockCopy::Way way : {BlockCopy::Way::kToHost, BlockCopy::Way::kFromHost}) {
    for (int block = 0; block < blocks; ++block) copies.push_back({block, block, way});
  }
  const Batch prompt = Prompt(rows);
  return {Seconds(backend, [&] { backend.CopyBlocks(copies); }) / blocks,
          Seconds(backend, [&] { model.Forward(prompt); }) * kBlockTokens / rows};
}

}  // namespace

HostKv DecideHostKv(const HostKvCosts& costs, int blocks) {
  constexpr double kMicro = 1e6;
  const std::string measured = absl::StrFormat(
      "a block of %d tokens is copied there and back in %.0f us and computed in "
      "%.0f us",
      kBlockTokens, costs.copying * kMicro, costs.computing * kMicro);
  return {costs.copying < costs.computing ? blocks : 0, measured};
}

absl::StatusOr<int> AllocateHostKv(const EngineOptions& options, const ModelConfig& config,
                                   int64_t available, Backend& backend) {
  const int64_t bytes = options.kv_host_memory.value_or(0);
  if (bytes == 0) return 0;
  const auto prefix = absl::StrCat("--kv-host-memory: ", bytes, " bytes");
  if (!options.share_prefixes) {
    return absl::InvalidArgumentError(
        absl::StrCat(prefix, ", but without share_prefixes nothing finds blocks there again"));
  }
  const size_t block_bytes = backend.KvBlockBytes(config.layers);
  const int blocks = BlocksIn(bytes, block_bytes);
  if (blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat(prefix, " hold no block of ", kBlockTokens,
                                                   " tokens (", block_bytes, " bytes)"));
  }
  // Page-locked memory is taken at once, and nothing else can have it.
  if (bytes > available) {
    return absl::ResourceExhaustedError(absl::StrCat(
        prefix, " exceed the ", available, " bytes of memory that this host has available"));
  }
  const absl::Status allocated = backend.AllocateHostKv(blocks);
  if (absl::IsUnimplemented(allocated)) {
    return absl::InvalidArgumentError(absl::StrCat(prefix, " are of no use to ", backend.device(),
                                                   ": ", std::string(allocated.message())));
  }
  if (!allocated.ok()) {
    return absl::Status(allocated.code(),
                        absl::StrCat(prefix, ": ", std::string(allocated.message())));
  }
  return blocks;
}

HostKv ChooseHostKv(const EngineOptions& options, const ModelConfig& config, int pool_blocks,
                    int64_t bytes, int step_rows, Backend& backend, Qwen3& model) {
  if (options.kv_host_memory || !options.share_prefixes) return {};
  const int most = BlocksIn(bytes, backend.KvBlockBytes(config.layers));
  const int probe = std::min({kProbeBlocks, pool_blocks, most});
  if (probe < 1) return {0, "the host has no memory available"};
  absl::Status allocated = backend.AllocateHostKv(probe);
  if (absl::IsUnimplemented(allocated)) return {};
  if (!allocated.ok()) return {0, std::string(allocated.message())};
  const int rows = static_cast<int>(
      std::min<int64_t>({step_rows, int64_t{pool_blocks} * kBlockTokens, config.max_positions}));
  HostKv choice = DecideHostKv(Measure(probe, rows, backend, model), most);
  allocated = backend.AllocateHostKv(choice.blocks);
  if (!allocated.ok()) return {0, std::string(allocated.message())};
  return choice;
}

}  // namespace kvasir
