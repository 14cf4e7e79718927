#include "engine/backend/cuda/sample_staging.h"

#include <algorithm>

#include "engine/check.h"

namespace kvasir::cuda {
namespace {

constexpr size_t kAlignment = 128;

}  // namespace

SampleRow WishesOf(const SamplingRow& row) {
  const SamplingParams& params = *row.params;
  return {.logits_row = row.logits_row,
          .target = row.target,
          .top_logprobs = row.top_logprobs,
          .temperature = params.temperature,
          .top_k = static_cast<int>(params.top_k),
          .top_p = params.top_p,
          .min_p = params.min_p,
          .repetition_penalty = params.repetition_penalty,
          .frequency_penalty = params.frequency_penalty,
          .presence_penalty = params.presence_penalty,
          .seed = params.seed,
          .position = row.position};
}

SampleStaging::Layout SampleStaging::LayoutOf(int rows) {
  Layout layout{};
  layout.bias = (rows * sizeof(SampleRow) + kAlignment - 1) / kAlignment * kAlignment;
  layout.end = layout.bias + kMaxBias * sizeof(Bias) + kMaxHistory * sizeof(int);
  return layout;
}

// In the order of the buffers in Allocate.
std::vector<size_t> SampleStaging::Bytes(int rows, int vocab) {
  return {LayoutOf(rows).end, rows * sizeof(SampleResult), size_t(rows) * vocab * sizeof(int),
          rows * sizeof(int)};
}

SampleStaging::SampleStaging(int rows, int vocab)
    : max_rows_(rows), vocab_(vocab), layout_(LayoutOf(rows)) {
  for (Slot& slot : slots_) {
    CheckCuda(cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming), "creating an event");
  }
}

absl::Status SampleStaging::Allocate(DeviceMemory& memory) {
  constexpr char kUse[] = "sampling";
  std::unique_ptr<Buffer>* const buffers[] = {&device_wishes_, &device_results_, &counts_,
                                              &sampled_buffer_};
  const std::vector<size_t> bytes = Bytes(max_rows_, vocab_);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const absl::Status status = memory.Allocate(bytes[i], kUse, *buffers[i]);
    if (!status.ok()) return status;
  }
  sampled_ = static_cast<int*>(sampled_buffer_->data());
  for (Slot& slot : slots_) {
    absl::Status status = PinnedBuffer::Allocate(layout_.end, kUse, slot.wishes);
    if (status.ok()) {
      status = PinnedBuffer::Allocate(max_rows_ * sizeof(SampleResult), kUse, slot.results);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

SampleStaging::~SampleStaging() {
  for (const Slot& slot : slots_) (void)cudaEventDestroy(slot.done);
}

void SampleStaging::Sample(float* logits, std::span<const SamplingRow> rows, cudaStream_t stream) {
  KVASIR_CHECK(rows.size() <= size_t(max_rows_));
  KVASIR_CHECK(waiting_ == 0 || (waiting_ == 1 && drawn_on_device()));
  const int count = static_cast<int>(rows.size());
#if !defined(BUG_STEP_ONE_RESULT_SLOT)  // planted: results are overwritten before they are read
  newest_ = 1 - newest_;
#endif
  ++waiting_;
  Slot& slot = slots_[newest_];
  slot.count = count;
  logits_ = logits;
  stream_ = stream;
  char* host = static_cast<char*>(slot.wishes->data());
  auto* wishes = reinterpret_cast<SampleRow*>(host);
  auto* bias = reinterpret_cast<Bias*>(host + layout_.bias);
  size_t biases = 0;
  size_t used = 0;  // of the history
  host_rows_.clear();
  for (int i = 0; i < count; ++i) {
    const SamplingRow& row = rows[i];
    const auto& wanted = row.params->logit_bias;
    const bool penalties = row.params->has_penalties() && row.target < 0;
    SampleRow& wish = wishes[i] = WishesOf(row);
    if (biases + wanted.size() > kMaxBias ||
        (penalties && used + row.history.size() > kMaxHistory)) {
      host_rows_.push_back({i, row});
      wish.logits_row = -1;
      continue;
    }
    wish.bias_begin = static_cast<int>(biases);
    for (const auto& [id, value] : wanted) bias[biases++] = {id, value};
    wish.bias_end = static_cast<int>(biases);
    wish.history_begin = static_cast<int>(used);
    if (penalties) used += row.history.size();
    wish.history_end = static_cast<int>(used);
  }
  const size_t history_at = layout_.bias + biases * sizeof(Bias);
  int* const history = reinterpret_cast<int*>(host + history_at);
  for (int i = 0; i < count; ++i) {
    if (wishes[i].history_begin == wishes[i].history_end) continue;
    std::copy(rows[i].history.begin(), rows[i].history.end(), history + wishes[i].history_begin);
  }
  if (count > 0) {
    char* device = static_cast<char*>(device_wishes_->data());
    CheckCuda(cudaMemcpyAsync(device, host, history_at + used * sizeof(int), cudaMemcpyHostToDevice,
                              stream),
              "copying sampling wishes");
    const SampleArgs args = {.logits = logits,
                             .vocab = vocab_,
                             .rows = reinterpret_cast<SampleRow*>(device),
                             .count = count,
                             .bias = reinterpret_cast<Bias*>(device + layout_.bias),
                             .history = reinterpret_cast<int*>(device + history_at),
                             .counts = static_cast<int*>(counts_->data()),
                             .results = static_cast<SampleResult*>(device_results_->data()),
                             .sampled = sampled_};
    CheckCuda(cuda::Sample(args, stream), "sampling");
#if defined(BUG_STEP_RESULTS_STREAM)
    stream = nullptr;  // planted: may be fetched before they are drawn
#endif
    CheckCuda(cudaMemcpyAsync(slot.results->data(), args.results, count * sizeof(SampleResult),
                              cudaMemcpyDeviceToHost, stream),
              "fetching sampled tokens");
  }
  CheckCuda(cudaEventRecord(slot.done, stream), "sampling");
}

std::span<const SampledToken> SampleStaging::Collect() {
  KVASIR_CHECK(waiting_ > 0);
#if defined(BUG_STEP_COLLECTS_THE_NEWEST)
  const Slot& slot = slots_[newest_];  // planted: not the oldest, where two are waited for
#else
  const Slot& slot = slots_[waiting_ == 2 ? 1 - newest_ : newest_];
#endif
  --waiting_;
#if !defined(BUG_STEP_COLLECTS_TOO_EARLY)  // planted: results are read before they are there
  CheckCuda(cudaEventSynchronize(slot.done), "running a step");
#endif
  const auto* results = static_cast<const SampleResult*>(slot.results->data());
  if (tokens_.size() < size_t(slot.count)) tokens_.resize(slot.count);
  for (int i = 0; i < slot.count; ++i) {
    const SampleResult& result = results[i];
    SampledToken& token = tokens_[i];
    token.id = result.id;
    token.logprob = result.logprob;
    token.alternatives.clear();
    for (int a = 0; a < result.alternatives; ++a) {
      token.alternatives.push_back({result.alternative_id[a], result.alternative_logprob[a]});
    }
  }
  if (!host_rows_.empty() && waiting_ == 0) DrawOnHost();
  return {tokens_.data(), size_t(slot.count)};
}

void SampleStaging::DrawOnHost() {
  host_logits_.resize(vocab_);
  for (const HostRow& host : host_rows_) {
    CheckCuda(cudaMemcpyAsync(host_logits_.data(), logits_ + size_t(host.row.logits_row) * vocab_,
                              vocab_ * sizeof(float), cudaMemcpyDeviceToHost, stream_),
              "fetching logits");
    CheckCuda(cudaStreamSynchronize(stream_), "fetching logits");
    SampledToken& token = tokens_[host.index];
    kvasir::SampleRow(host_logits_, host.row, scratch_, token);
    const int id = std::max(token.id, 0);  // the next Embed looks it up
    CheckCuda(
        cudaMemcpyAsync(sampled_ + host.index, &id, sizeof(int), cudaMemcpyHostToDevice, stream_),
        "storing a token");
    CheckCuda(cudaStreamSynchronize(stream_), "storing a token");
  }
}

}  // namespace kvasir::cuda
