#include "engine/backend/cuda/cublaslt_matmul.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/check.h"

namespace kvasir::cuda {
namespace {

constexpr int kCandidates = 8;
constexpr uint32_t kAlignment = 16;  // bytes, of x, w and out

absl::Status CheckCuda(cudaError_t error, const char* function) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(function, ": ", cudaGetErrorString(error)));
}

// Times work on a stream.
class Stopwatch {
 public:
  ~Stopwatch() {
    if (start_ != nullptr) (void)cudaEventDestroy(start_);
    if (stop_ != nullptr) (void)cudaEventDestroy(stop_);
  }
  absl::Status Create() {
    absl::Status status = CheckCuda(cudaEventCreate(&start_), "cudaEventCreate");
    if (status.ok()) status = CheckCuda(cudaEventCreate(&stop_), "cudaEventCreate");
    return status;
  }
  absl::Status Start(cudaStream_t stream) {
    return CheckCuda(cudaEventRecord(start_, stream), "cudaEventRecord");
  }
  // Waits for the work since Start. Milliseconds.
  absl::StatusOr<float> Stop(cudaStream_t stream) {
    float milliseconds = 0;
    absl::Status status = CheckCuda(cudaEventRecord(stop_, stream), "cudaEventRecord");
    if (status.ok()) status = CheckCuda(cudaEventSynchronize(stop_), "cudaEventSynchronize");
    if (status.ok()) {
      status =
          CheckCuda(cudaEventElapsedTime(&milliseconds, start_, stop_), "cudaEventElapsedTime");
    }
    if (!status.ok()) return status;
    return milliseconds;
  }

 private:
  cudaEvent_t start_ = nullptr;
  cudaEvent_t stop_ = nullptr;
};

// Milliseconds a call, after `evict`, one call to warm up aside; nothing where a call is refused.
template <class Call, class Evict>
absl::StatusOr<std::optional<float>> MedianTime(const Call& call, const Evict& evict,
                                                int iterations, cudaStream_t stream,
                                                Stopwatch& stopwatch) {
  if (call() != kCublasSuccess) return std::nullopt;
  std::vector<float> times;
  for (int i = 0; i < iterations; ++i) {
    if (absl::Status status = evict(); !status.ok()) return status;
    if (absl::Status status = stopwatch.Start(stream); !status.ok()) return status;
    if (call() != kCublasSuccess) return std::nullopt;
    const absl::StatusOr<float> time = stopwatch.Stop(stream);
    if (!time.ok()) return time.status();
    times.push_back(*time);
  }
  const auto middle = times.begin() + iterations / 2;
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

absl::Status NoAlgorithm(const MatmulArgs& args) {
  return absl::UnimplementedError(
      absl::StrCat("cuBLASLt has no algorithm for M ", args.m, ", N ", args.n, ", K ", args.k));
}

}  // namespace

// Row-major out = x w^T is, to a column-major library, out^T = w^T' x^T: its first matrix is w,
// read as [K, N] and transposed, its second x, read as [K, M], its result out, read as [N, M].
struct CublasLtMatmul::Description {
  const CublasLtApi& api;
  CublasLtMatmulDesc desc = nullptr;
  CublasLtLayout w = nullptr;
  CublasLtLayout x = nullptr;
  CublasLtLayout out = nullptr;

  explicit Description(const CublasLtApi& functions) : api(functions) {}
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  ~Description() {
    for (CublasLtLayout layout : {w, x, out}) {
      if (layout != nullptr) (void)api.layout_destroy(layout);
    }
    if (desc != nullptr) (void)api.desc_destroy(desc);
  }
};

CublasLtMatmul::CublasLtMatmul(const CublasLtApi& api, void* workspace, size_t workspace_bytes)
    : api_(api), workspace_(workspace), workspace_bytes_(workspace_bytes) {}

CublasLtMatmul::~CublasLtMatmul() {
  if (preference_ != nullptr) (void)api_.preference_destroy(preference_);
  if (handle_ != nullptr) (void)api_.destroy(handle_);
}

absl::StatusOr<std::unique_ptr<CublasLtMatmul>> CublasLtMatmul::Create(const CublasLtApi& api,
                                                                       void* workspace,
                                                                       size_t workspace_bytes) {
  std::unique_ptr<CublasLtMatmul> matmul(new CublasLtMatmul(api, workspace, workspace_bytes));
  absl::Status status = matmul->Check(api.create(&matmul->handle_), "cublasLtCreate");
  if (!status.ok()) return status;
  status =
      matmul->Check(api.preference_create(&matmul->preference_), "cublasLtMatmulPreferenceCreate");
  const auto set = [&](int attribute, const auto& value) {
    if (!status.ok()) return;
    status =
        matmul->Check(api.preference_set(matmul->preference_, attribute, &value, sizeof(value)),
                      "cublasLtMatmulPreferenceSetAttribute");
  };
  set(kCublasLtPreferenceWorkspaceBytes, uint64_t{workspace_bytes});
  set(kCublasLtPreferenceAlignmentA, kAlignment);
  set(kCublasLtPreferenceAlignmentB, kAlignment);
  set(kCublasLtPreferenceAlignmentC, kAlignment);
  set(kCublasLtPreferenceAlignmentD, kAlignment);
  if (!status.ok()) return status;
  return matmul;
}

CublasLtMatmul::Kind CublasLtMatmul::KindOf(const MatmulArgs& args) {
  return {static_cast<int>(std::bit_ceil(static_cast<unsigned>(args.m))), args.n, args.k,
          args.rounded != nullptr, args.add};
}

absl::Status CublasLtMatmul::Describe(const MatmulArgs& args, Description& description) const {
  const int transpose = kCublasTranspose;
  absl::Status status = Check(api_.desc_create(&description.desc, kCublasComputeF32, kCudaF32),
                              "cublasLtMatmulDescCreate");
  if (!status.ok()) return status;
  status =
      Check(api_.desc_set(description.desc, kCublasLtDescTransposeA, &transpose, sizeof(transpose)),
            "cublasLtMatmulDescSetAttribute");
  const auto layout = [&](CublasLtLayout& made, int type, int rows, int cols) {
    if (!status.ok()) return;
    status = Check(api_.layout_create(&made, type, rows, cols, rows), "cublasLtMatrixLayoutCreate");
  };
  layout(description.w, kCudaBf16, args.k, args.n);
  layout(description.x, kCudaBf16, args.k, args.m);
  layout(description.out, args.rounded != nullptr ? kCudaBf16 : kCudaF32, args.n, args.m);
  return status;
}

absl::StatusOr<std::vector<CublasLtAlgorithm>> CublasLtMatmul::Candidates(MatmulArgs args,
                                                                          int wanted) const {
  args.m = std::get<0>(KindOf(args));
  Description description(api_);
  absl::Status status = Describe(args, description);
  if (!status.ok()) return status;
  CublasLtHeuristic found[kCandidates] = {};
  int count = 0;
  const int result =
      api_.heuristic(handle_, description.desc, description.w, description.x, description.out,
                     description.out, preference_, std::min(wanted, kCandidates), found, &count);
  std::vector<CublasLtAlgorithm> candidates;
  if (result == kCublasNotSupported) return candidates;
  status = Check(result, "cublasLtMatmulAlgoGetHeuristic");
  if (!status.ok()) return status;
  for (int i = 0; i < count; ++i) {
    if (found[i].state == kCublasSuccess && found[i].workspace_bytes <= workspace_bytes_) {
      candidates.push_back(found[i].algorithm);
    }
  }
  return candidates;
}

int CublasLtMatmul::Enqueue(const Description& description, const MatmulArgs& args,
                            const CublasLtAlgorithm& algorithm, cudaStream_t stream) const {
  const float one = 1;
  const float before = args.add ? 1 : 0;
  void* const out = args.rounded != nullptr ? static_cast<void*>(args.rounded) : args.out;
  return api_.matmul(handle_, description.desc, &one, args.w, description.w, args.x, description.x,
                     &before, out, description.out, out, description.out, &algorithm, workspace_,
                     workspace_bytes_, stream);
}

absl::StatusOr<CublasLtAlgorithm> CublasLtMatmul::First(const MatmulArgs& args) const {
  const absl::StatusOr<std::vector<CublasLtAlgorithm>> candidates = Candidates(args, 1);
  if (!candidates.ok()) return candidates.status();
  if (candidates->empty()) return NoAlgorithm(args);
  return candidates->front();
}

absl::StatusOr<CublasLtAlgorithm> CublasLtMatmul::Fastest(const MatmulArgs& args, int iterations,
                                                          cudaStream_t stream) const {
  const absl::StatusOr<std::vector<CublasLtAlgorithm>> candidates = Candidates(args, kCandidates);
  if (!candidates.ok()) return candidates.status();
  Description description(api_);
  Stopwatch stopwatch;
  absl::Status status = Describe(args, description);
  if (status.ok()) status = stopwatch.Create();
  if (!status.ok()) return status;
  absl::StatusOr<CublasLtAlgorithm> fastest = NoAlgorithm(args);
  float least = std::numeric_limits<float>::infinity();
  for (const CublasLtAlgorithm& algorithm : *candidates) {
    const auto call = [&] { return Enqueue(description, args, algorithm, stream); };
    const auto evict = [&] {
      if (evictor_ == nullptr) return absl::OkStatus();
      return CheckCuda(cudaMemsetAsync(evictor_, 0, evictor_bytes_, stream), "cudaMemsetAsync");
    };
    const absl::StatusOr<std::optional<float>> time =
        MedianTime(call, evict, iterations, stream, stopwatch);
    if (!time.ok()) return time.status();
    if (time->has_value() && **time < least) {
      least = **time;
      fastest = algorithm;
    }
  }
  return fastest;
}

void CublasLtMatmul::Tune(std::span<const MatmulArgs> products, int iterations,
                          cudaStream_t stream) {
  KVASIR_CHECK(iterations > 0);
  for (const MatmulArgs& args : products) {
    KVASIR_CHECK((args.out != nullptr) != (args.rounded != nullptr) && args.m > 0);
    if (algorithms_.contains(KindOf(args))) continue;
    algorithms_.emplace(KindOf(args), Fastest(args, iterations, stream));
  }
}

absl::Status CublasLtMatmul::Run(const MatmulArgs& args, cudaStream_t stream) {
  KVASIR_CHECK((args.out != nullptr) != (args.rounded != nullptr) && args.m > 0);
  const Kind kind = KindOf(args);
  auto known = algorithms_.find(kind);
  if (known == algorithms_.end()) known = algorithms_.emplace(kind, First(args)).first;
  absl::StatusOr<CublasLtAlgorithm>& algorithm = known->second;
  if (!algorithm.ok()) return algorithm.status();
  Description description(api_);
  absl::Status status = Describe(args, description);
  if (status.ok()) {
    status = Check(Enqueue(description, args, *algorithm, stream), "cublasLtMatmul");
  }
  if (!status.ok()) algorithm = status;
  return status;
}

absl::Status CublasLtMatmul::Check(int status, const char* function) const {
  if (status == kCublasSuccess) return absl::OkStatus();
  const std::string message = absl::StrCat(function, ": ", api_.status_name(status));
  return status == kCublasNotSupported ? absl::UnimplementedError(message)
                                       : absl::InternalError(message);
}

}  // namespace kvasir::cuda
