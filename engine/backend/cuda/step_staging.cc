#include "engine/backend/cuda/step_staging.h"

#include <algorithm>
#include <cstring>

#include "engine/check.h"

namespace kvasir::cuda {
namespace {

constexpr size_t kAlignment = 128;

size_t BlocksOf(int tokens) { return (size_t(tokens) + kBlockTokens - 1) / kBlockTokens; }

void CopyInts(int* to, const std::vector<int>& from) { std::copy(from.begin(), from.end(), to); }

}  // namespace

StepStaging::Layout StepStaging::LayoutOf(const StepLimits& limits, const AttentionRoom& room) {
  size_t end = 0;
  const auto place = [&end](size_t count, size_t size) {
    const size_t begin = end;
    end += (count * size + kAlignment - 1) / kAlignment * kAlignment;
    return begin;
  };
  const size_t t = limits.tokens;
  const size_t s = limits.sequences;
  Layout layout{};
  layout.tokens = place(t, sizeof(int));
  layout.positions = place(t, sizeof(int));
  layout.slots = place(t, sizeof(int));
  layout.logit_rows = place(std::max(limits.logits, limits.tokens), sizeof(int));
  layout.counts = place(2, sizeof(int));
  layout.varying = place(room.few_tiles, sizeof(AttentionTile));
  place(s * BlocksOf(limits.max_positions), sizeof(int));
  place(room.many_tiles, sizeof(AttentionTile));
  layout.end = end;
  return layout;
}

size_t StepStaging::Bytes(const StepLimits& limits, const AttentionRoom& room) {
  return LayoutOf(limits, room).end;
}

StepStaging::StepStaging(const StepLimits& limits, const AttentionGrid& grid,
                         const AttentionRoom& room)
    : limits_(limits), grid_(grid), room_(room), layout_(LayoutOf(limits, room)) {
  plan_.Reserve(room);
}

absl::Status StepStaging::Allocate(DeviceMemory& memory) {
  constexpr char kUse[] = "a step's batch";
  for (std::unique_ptr<PinnedBuffer>& host : host_) {
    const absl::Status status = PinnedBuffer::Allocate(layout_.end, kUse, host);
    if (!status.ok()) return status;
  }
  if (absl::Status status = memory.Allocate(layout_.end, kUse, device_); !status.ok()) {
    return status;
  }
  few_ = OnDevice<AttentionTile>(layout_.varying);
  few_count_ = OnDevice<int>(layout_.counts);
  many_count_ = few_count_ + 1;
  batch_.tokens = OnDevice<int>(layout_.tokens);
  batch_.positions = OnDevice<int>(layout_.positions);
  batch_.slots = OnDevice<int>(layout_.slots);
  batch_.block_table = OnDevice<int>(layout_.varying);
  batch_.logit_rows = OnDevice<int>(layout_.logit_rows);
  return absl::OkStatus();
}

void StepStaging::Stage(const Batch& batch, int rows, cudaStream_t stream) {
  const int padding = rows - batch.num_tokens();
  Turn();
  const size_t bytes = Fill(batch, rows);
  CheckCuda(cudaMemcpyAsync(device_->data(), Host<char>(0), bytes, cudaMemcpyHostToDevice, stream),
            "copying a step's batch");
  batch_.num_tokens = rows;
  batch_.num_sequences = batch.num_sequences();
  batch_.num_logits = batch.num_logits() + padding;
  has_few_ = !plan_.few.empty();
  has_many_ = !plan_.many.empty();
}

void StepStaging::Turn() {
#if !defined(BUG_STEP_ONE_HOST_COPY)  // planted: written while the step before is copied from it
  turn_ = 1 - turn_;
#endif
}

void StepStaging::StagePadding(int rows, int logits, cudaStream_t stream) {
  KVASIR_CHECK(rows <= limits_.tokens && logits <= rows);
  int* counts = Host<int>(layout_.counts);
  counts[0] = counts[1] = 0;
  FillPadding(0, rows, 0);
  CheckCuda(cudaMemcpyAsync(device_->data(), Host<char>(0), layout_.varying, cudaMemcpyHostToDevice,
                            stream),
            "copying a step's batch");
  CheckCuda(cudaStreamSynchronize(stream), "copying a step's batch");
  batch_.num_tokens = rows;
  batch_.num_sequences = 0;
  batch_.num_logits = logits;
  has_few_ = has_many_ = false;
}

void StepStaging::FillPadding(int begin, int end, int first_logit) {
  for (int row = begin; row < end; ++row) {
    Host<int>(layout_.tokens)[row] = 0;
    Host<int>(layout_.positions)[row] = 0;
#if defined(BUG_STEP_PADDING_STORES)
    Host<int>(layout_.slots)[row] = 0;  // planted: padding writes to somebody's block
#else
    Host<int>(layout_.slots)[row] = -1;
#endif
    Host<int>(layout_.logit_rows)[first_logit + row - begin] = row;
  }
}

size_t StepStaging::Fill(const Batch& batch, int rows) {
  const int used = batch.num_tokens();
  KVASIR_CHECK(rows >= used && rows <= limits_.tokens &&
               batch.num_sequences() <= limits_.sequences);
  CopyInts(Host<int>(layout_.tokens), batch.tokens);
  CopyInts(Host<int>(layout_.positions), batch.positions);
  CopyInts(Host<int>(layout_.slots), batch.slots);
  CopyInts(Host<int>(layout_.logit_rows), batch.logit_rows);
  FillPadding(used, rows, batch.num_logits());
  PlanAttention(batch, grid_, room_, plan_);
  KVASIR_CHECK(plan_.few.size() <= size_t(room_.few_tiles) &&
               plan_.many.size() <= size_t(room_.many_tiles));
  int* counts = Host<int>(layout_.counts);
#if defined(BUG_GRAPH_TILE_COUNT)
  // planted: as many as when it was recorded, one a row
  counts[0] = std::min(static_cast<int>(plan_.few.size()), rows);
#else
  counts[0] = static_cast<int>(plan_.few.size());
#endif
  counts[1] = static_cast<int>(plan_.many.size());

  const auto align = [](size_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; };
  const size_t tables = align(layout_.varying + plan_.few.size() * sizeof(AttentionTile));
  PlaceTiles(batch, tables, plan_.few, layout_.varying);
  // Rows of the table one behind another, without what pads them to max_blocks.
  int* table = Host<int>(tables);
  for (int s = 0; s < batch.num_sequences(); ++s) {
    const int* from = batch.block_table.data() + size_t(s) * batch.max_blocks;
#if defined(BUG_STEP_PADDED_TABLES)
    table = std::copy_n(from, batch.max_blocks, table);  // planted: not where tiles look for them
#else
    table = std::copy_n(from, BlocksOf(batch.context_length[s]), table);
#endif
  }
  const size_t many = align(reinterpret_cast<char*>(table) - Host<char>(0));
  PlaceTiles(batch, tables, plan_.many, many);
  many_ = OnDevice<AttentionTile>(many);
#if defined(BUG_STEP_SHORT_COPY)
  return tables;  // planted: the step before's tables stay
#else
  return many + plan_.many.size() * sizeof(AttentionTile);
#endif
}

void StepStaging::PlaceTiles(const Batch& batch, size_t tables,
                             const std::vector<AttentionTile>& tiles, size_t to) {
  AttentionTile* out = Host<AttentionTile>(to);
  int sequence = 0;
  size_t table = (tables - layout_.varying) / sizeof(int);
  for (const AttentionTile& tile : tiles) {  // in the order of sequences
    for (; sequence < tile.sequence; ++sequence) {
      table += BlocksOf(batch.context_length[sequence]);
    }
    AttentionTile placed = tile;
    placed.table = static_cast<int>(table);
    *out++ = placed;
  }
}

}  // namespace kvasir::cuda
