// The GPU's library as the engine opens it, of the emulated GPU, with what tests want beside it:
// the emulator's statistics and, under AddressSanitizer, a guard over the KV pool.
#include <simt.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend/plugin.h"
#include "tests/engine/backend/cuda/emulated_gpu.h"
#include "tests/engine/backend/forwarding_backend.h"
#include "tests/simt/poison.h"
#include "tests/simt/schedule.h"

// The library's own, which has another name here.
extern "C" const kvasir::Plugin* kvasir_plugin_without_guard();

namespace kvasir {
namespace {

// While a step runs, its sequences' tokens are the only ones in the pool that may be touched:
// blocks that nobody has, that other sessions have or that a prefix was left in are poisoned, and
// so is what lies behind the last token of a block.
class KvGuard : public ForwardingBackend {
 public:
  KvGuard(std::unique_ptr<Backend> inner, const AttentionShape& shape)
      : ForwardingBackend(std::move(inner)), shape_(shape) {}
  ~KvGuard() override { Lift(); }

  absl::Status AllocateKv(int layers, int num_blocks) override {
    layers_ = layers;
    return ForwardingBackend::AllocateKv(layers, num_blocks);
  }
  const DeviceBatch& Stage(const Batch& batch) override {
    Guard(batch);
    return ForwardingBackend::Stage(batch);
  }
  void Run(const Batch& batch, Forward forward) override {
    Guard(batch);
    ForwardingBackend::Run(batch, forward);
  }
  void CopyBlocks(std::span<const BlockCopy> copies) override {
    Lift();
    ForwardingBackend::CopyBlocks(copies);
  }
  void Read(void* to, const void* from, size_t bytes) override {
    Lift();
    ForwardingBackend::Read(to, from, bytes);
  }
  void Write(void* to, const void* from, size_t bytes) override {
    Lift();
    ForwardingBackend::Write(to, from, bytes);
  }

 private:
  // Tokens of each block that the step may touch.
  static std::vector<int> TokensUsed(const Batch& batch, int num_blocks) {
    std::vector<int> used(num_blocks, 0);
    for (int s = 0; s < batch.num_sequences(); ++s) {
      for (int b = 0; b * kBlockTokens < batch.context_length[s]; ++b) {
        int& tokens = used.at(batch.block_table[size_t(s) * batch.max_blocks + b]);
        tokens =
            std::max(tokens, std::min(kBlockTokens, batch.context_length[s] - b * kBlockTokens));
      }
    }
    return used;
  }

  void Guard(const Batch& batch) {
    Lift();
    const std::vector<int> used = TokensUsed(batch, Kv(0).num_blocks);
    const size_t panels = size_t{2} * shape_.kv_heads;  // K and V of each head, [16 tokens][D]
    const size_t panel_bytes = KvBlockBytes(1) / panels;
    for (size_t block = 0; block < used.size(); ++block) {
      const size_t used_bytes = used[block] * (panel_bytes / kBlockTokens);
      for (int layer = 0; layer < layers_; ++layer) {
        const KvLayer kv = Kv(layer);
        char* const first = static_cast<char*>(kv.data) + block * kv.block_stride;
        for (size_t panel = 0; panel < panels; ++panel) {
          Poison(first + panel * panel_bytes + used_bytes, panel_bytes - used_bytes);
        }
      }
    }
  }
  // Joined to what was poisoned last, where it follows it.
  void Poison(char* begin, size_t bytes) {
    if (bytes == 0) return;
    if (!poisoned_.empty() && poisoned_.back().first + poisoned_.back().second == begin) {
      poisoned_.back().second += bytes;
    } else {
      poisoned_.emplace_back(begin, bytes);
    }
    simt::Poison(poisoned_.back().first, poisoned_.back().second);
  }
  void Lift() {
    for (const auto& [begin, bytes] : poisoned_) simt::Unpoison(begin);
    poisoned_.clear();
  }

  const AttentionShape shape_;
  int layers_ = 0;
  std::vector<std::pair<char*, size_t>> poisoned_;
};

// Where AddressSanitizer sees it, and steps are done when they are enqueued.
bool WithGuard() {
  return simt::kCanPoison && simt::CurrentSchedule().order == simt::Order::kInOrder;
}

int Create(const GpuBackendOptions& options, std::unique_ptr<Backend>& backend,
           std::string& error) {
  const int code = kvasir_plugin_without_guard()->create(options, backend, error);
  if (code == 0 && WithGuard()) {
    backend = std::make_unique<KvGuard>(std::move(backend), options.attention);
  }
  return code;
}

}  // namespace
}  // namespace kvasir

extern "C" __attribute__((visibility("default"))) const kvasir::Plugin* kvasir_plugin() {
  static const kvasir::Plugin plugin = [] {
    kvasir::Plugin guarded = *kvasir_plugin_without_guard();
    guarded.create = kvasir::Create;
    return guarded;
  }();
  return &plugin;
}

extern "C" __attribute__((visibility("default"))) void kvasir_emulated_statistics(
    simt::Statistics* statistics) {
  *statistics = simt::ReadStatistics();
}
