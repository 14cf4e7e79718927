// Sampling, one block a row, in a few passes over it.
//
// The k-th largest of the threads' own largest logits is below k logits at least, and above nearly
// all others: what reaches it is a list of little more than k, on which everything is decided. So
// the common draw (a small top_k) reads a row twice, the greedy one once. Where the list is too
// short for a wish (a draw from the tail, very many ties), SearchRow takes over. Both decide by the
// same integers: the results do not depend on which of them did, nor on the number of threads.
#include "engine/backend/cuda/kernels.h"
#include "engine/backend/cuda/philox.cuh"
#include "engine/backend/cuda/sample_change.cuh"
#include "engine/backend/cuda/sample_row.cuh"
#include "engine/backend/cuda/sample_search.cuh"

namespace kvasir::cuda {
namespace {

constexpr int kSmallVocab = 8192;
constexpr int kSmallThreads = 128;

// Where a thread's item stands in shared.list: how many keys, and what mass, are above its own, and
// what mass comes before it.
struct Place {
  unsigned above_count = 0;
  Mass above = 0;
  Mass before = 0;  // ties of lower ids too
};
__device__ Place PlaceOf(const SampleShared& shared, unsigned listed, Item item) {
  Place place;
  for (unsigned i = 0; i < listed; ++i) {
    const Listed other = shared.list[i];
    if (other.item <= item) continue;
    place.before += other.mass;
    if (KeyOfItem(other.item) == KeyOfItem(item)) continue;
    place.above += other.mass;
    ++place.above_count;
  }
  return place;
}

__device__ int CountAbove(const SampleShared& shared, unsigned listed, Item item) {
  int count = 0;
  for (unsigned i = 0; i < listed; ++i) count += shared.list[i].item > item ? 1 : 0;
  return count;
}

// The n most probable with their log-probabilities, from a list that holds them. Where a NaN is in
// the row all of these are NaN, and ids of NaN come last.
__device__ void WriteAlternatives(SampleShared& shared, const Logits& row, unsigned listed, int n,
                                  SampleResult& result) {
  // Very many ties: the n-th of those listed is as good a bound, and the list gets shorter.
  while (listed > blockDim.x) {
    const Item item = shared.list[threadIdx.x].item;
    if (CountAbove(shared, blockDim.x, item) == n - 1) shared.threshold = item;
    __syncthreads();
    listed = Gather(shared, row, shared.threshold, false, {}).listed;
  }
  if (threadIdx.x == 0) result.alternatives = n;
  if (threadIdx.x >= listed) return;
  const Item item = shared.list[threadIdx.x].item;
  const int before = CountAbove(shared, listed, item);
  if (before >= n) return;
  result.alternative_id[before] = IdOf(item);
  result.alternative_logprob[before] =
      static_cast<float>(static_cast<double>(LogitOf(KeyOfItem(item))) - shared.log_sum);
}

// shared.log_sum and the alternatives, of the raw row.
__device__ void RawLogprobs(SampleShared& shared, const Logits& row, int alternatives, Item own,
                            SampleResult& result) {
  const uint32_t best = KeyOfItem(BlockMax(shared, own));
  const int n = min(alternatives, row.vocab);
  Item from = ~Item{0};  // none
  if (n > 0) from = Item{NthLargest(KeyOfItem(own), n)} << 32;
  const Scale scale = ScaleOf(best, 1);
  const Gathered all = Gather(shared, row, from, true, scale);
  if (threadIdx.x == 0) {
    constexpr double kUnit = 1.0 / static_cast<double>(Mass{1} << kMassBits);
    shared.log_sum = all.nan || !IsFinite(best)
                         ? LogitOf(kNanKey)
                         : scale.best + log(static_cast<double>(all.total) * kUnit);
  }
  __syncthreads();
  if (n > 0) {
    WriteAlternatives(shared, row, all.listed, n, result);
  } else if (threadIdx.x == 0) {
    result.alternatives = 0;
  }
  __syncthreads();  // the list is free again
}

// The least key that passes min_p: (logit - best) / temperature >= log(min_p).
__device__ uint32_t MinKey(const SampleRow& wish, float best) {
  if (wish.min_p <= 0) return kMinusInfKey;
  const double least =
      best + static_cast<double>(wish.temperature) * log(static_cast<double>(wish.min_p));
  const float rounded = static_cast<float>(least);
  return KeyOf(rounded) + (static_cast<double>(rounded) < least ? 1 : 0);
}

// Draws from the list, if what is kept, or the drawn one, is in it. True where it was.
__device__ bool DrawFromList(SampleShared& shared, const SampleRow& wish, Scale scale,
                             uint32_t from_key, const Gathered& all) {
  const bool mine = threadIdx.x < all.listed;
  const Item item = mine ? shared.list[threadIdx.x].item : 0;
  const Mass mass = mine ? MassOf(LogitOf(KeyOfItem(item)), scale) : 0;
  if (mine) shared.list[threadIdx.x].mass = mass;
  __syncthreads();
  const Place place = mine ? PlaceOf(shared, all.listed, item) : Place{};
#if defined(BUG_SAMPLE_TOP_K_WITHOUT_TIES)
  const unsigned rank = CountAbove(shared, all.listed, item);  // planted: drops ties of the k-th
#else
  const unsigned rank = place.above_count;
#endif
  const unsigned k = wish.top_k > 0 ? wish.top_k : ~0u;
  bool kept = mine && rank < k;
  const Mass in_list = BlockSum(shared, kept ? mass : 0);
  bool whole = from_key == kMinusInfKey + 1 || all.listed >= k;  // what is kept is in the list
  if (!whole && wish.top_k > 0) return false;
  Mass total = whole ? in_list : all.total;
  if (wish.top_p < 1) {
    const Mass limit = TopPLimit(wish.top_p, total);
    kept = kept && place.above < limit;
    whole = whole || limit <= in_list;
  }
  kept = kept && KeyOfItem(item) >= shared.min_key;
  whole = whole || shared.min_key >= from_key;
  if (!whole && (wish.top_p < 1 || shared.min_key > kMinusInfKey)) return false;
  if (whole) total = BlockSum(shared, kept ? mass : 0);
  const Mass target = DrawTarget(shared.uniform, total);
  if (!whole && target >= in_list) return false;
  if (kept && place.before <= target && target < place.before + mass) shared.chosen = IdOf(item);
  __syncthreads();
  return true;
}

// An id, or -1 where the best logit is not finite. own: OwnBest.
__device__ int Draw(SampleShared& shared, const Logits& row, const SampleRow& wish, Item own) {
  const uint32_t best = KeyOfItem(BlockMax(shared, own));
  if (!IsFinite(best)) return -1;
  const Scale scale = ScaleOf(best, wish.temperature);
  if (threadIdx.x == 0) {
    shared.min_key = MinKey(wish, scale.best);
    shared.uniform = UniformAt(wish.seed, wish.position);
  }
  // More would seldom fit in the list.
  const int most = static_cast<int>(blockDim.x) / 2;
  const bool few = wish.top_k > 0 && wish.top_k <= most;
  uint32_t from_key = kMinusInfKey + 1;  // the others have no mass
  if (row.vocab > static_cast<int>(blockDim.x)) {
    from_key = max(from_key, NthLargest(KeyOfItem(own), few ? wish.top_k : most));
  }
  const Item from = Item{from_key} << 32;
  Gathered all = Gather(shared, row, from, !few, scale);
  if (all.listed <= blockDim.x && DrawFromList(shared, wish, scale, from_key, all)) {
    return shared.chosen;
  }
  if (few) all = Gather(shared, row, ~Item{0}, true, scale);
  return SearchRow(shared, row, wish, scale, all.least, all.total);
}

// The most probable id; -1 where all are -inf or NaN.
__device__ int Greedy(SampleShared& shared, Item own) {
  const Item best = BlockMax(shared, own);
  return KeyOfItem(best) == kNanKey ? -1 : IdOf(best);
}

__device__ void WriteResult(const SampleArgs& args, int id, float logprob) {
  SampleResult& result = args.results[blockIdx.x];
  result.id = id;
  result.logprob = logprob;
  args.sampled[blockIdx.x] = max(id, 0);
}

// What changes this block's row.
__device__ Changes ChangesOf(const SampleArgs& args) {
  return {args.rows[blockIdx.x], args.bias, args.history,
          reinterpret_cast<uint32_t*>(args.counts) + static_cast<size_t>(blockIdx.x) * args.vocab};
}

__global__ void __launch_bounds__(kSampleThreads, 2) SampleKernel(SampleArgs args) {
  KVASIR_SHARED(SampleShared, shared, );
  const SampleRow& wish = args.rows[blockIdx.x];
  if (wish.logits_row < 0) return;
  const Logits row = {args.logits + static_cast<size_t>(wish.logits_row) * args.vocab, args.vocab};
  Item own = OwnBest(row);
  if (wish.target >= 0 || wish.top_logprobs >= 0) {
    const int alternatives = wish.target >= 0 ? 0 : min(wish.top_logprobs, kMaxAlternatives);
    RawLogprobs(shared, row, alternatives, own, args.results[blockIdx.x]);
  } else if (threadIdx.x == 0) {
    args.results[blockIdx.x].alternatives = 0;
  }
  if (wish.target >= 0) {
    if (threadIdx.x == 0) {
      WriteResult(args, wish.target, static_cast<float>(row.data[wish.target] - shared.log_sum));
    }
    return;
  }
  if (wish.bias_begin < wish.bias_end || wish.history_begin < wish.history_end) {
    ApplyChanges(ChangesOf(args), row.data);
#if !defined(BUG_SAMPLE_STALE_BEST)  // planted: the best of the logits before they changed
    own = OwnBest(row);
#endif
  }
  const int id = wish.temperature > 0 ? Draw(shared, row, wish, own) : Greedy(shared, own);
  const Changes changes = ChangesOf(args);
  if (threadIdx.x == 0) {
    const bool known = wish.top_logprobs >= 0 && id >= 0;
    WriteResult(
        args, id,
        known ? static_cast<float>(RawLogit(changes, row.data, id) - shared.log_sum) : 0.0f);
  }
  __syncthreads();
  ForgetChanges(changes);
}

}  // namespace

cudaError_t LoadSampleKernels() { return LoadKernel(SampleKernel); }

cudaError_t Sample(const SampleArgs& args, cudaStream_t stream) {
  if (args.count == 0) return cudaSuccess;
  if (args.vocab <= 0 || args.vocab > kMaxVocab) return cudaErrorInvalidValue;
  const int threads = args.vocab > kSmallVocab ? kSampleThreads : kSmallThreads;
  return Launch(SampleKernel, dim3(args.count), dim3(threads), 0, stream, args);
}

}  // namespace kvasir::cuda
