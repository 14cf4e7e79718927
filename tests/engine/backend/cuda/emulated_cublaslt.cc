#include "tests/engine/backend/cuda/emulated_cublaslt.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <set>
#include <tuple>

#include "engine/backend/cuda/gpu.cuh"

namespace kvasir::cuda {
namespace {

constexpr int kInvalidValue = 7;
constexpr int kWorkOfSlow = 20;

struct Desc {
  int compute_type = 0;
  int scale_type = 0;
  int transpose_a = 0;
};
struct Layout {
  int type = 0;
  uint64_t rows = 0;
  uint64_t cols = 0;
  int64_t leading_dimension = 0;
};
struct Preference {
  uint64_t workspace_bytes = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};
};

constexpr int kColumns = 16;  // of a thread

__device__ float Rounded(float, float v) { return v; }
__device__ bf16 Rounded(bf16, float v) { return __float2bfloat16(v); }

// out = x w^T + before out, some columns of a row a thread.  out: [M, N]; x: [M, K]; w: [N, K]
template <class T>
__global__ void PlainMatmulKernel(T* out, const bf16* x, const bf16* w, int m, int n, int k,
                                  float before, int work) {
  const int threads = CeilDiv(n, kColumns);  // of a row
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= m * threads) return;
  const bf16* const row = x + size_t(i / threads) * k;
  const int first = i % threads * kColumns;
  for (int column = first; column < min(first + kColumns, n); ++column) {
    const bf16* const weights = w + size_t(column) * k;
    float sum = 0;
    for (int again = 0; again < work; ++again) {
      sum = 0;
      for (int j = 0; j < k; ++j) sum += __bfloat162float(row[j]) * __bfloat162float(weights[j]);
      asm volatile("" : "+r"(again), "+x"(sum));  // all of it has to be done
    }
    T& to = out[size_t(i / threads) * n + column];
    to = Rounded(T{}, before != 0 ? before * float(to) + sum : sum);
  }
}

size_t Version() { return 130000; }
const char* StatusName(int status) {
  switch (status) {
    case kCublasSuccess:
      return "CUBLAS_STATUS_SUCCESS";
    case kInvalidValue:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case kCublasNotSupported:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
  }
}
int Create(CublasLtHandle* handle) {
  *handle = new int;
  return kCublasSuccess;
}
int Destroy(CublasLtHandle handle) {
  delete static_cast<int*>(handle);
  return kCublasSuccess;
}
int DescCreate(CublasLtMatmulDesc* desc, int compute_type, int scale_type) {
  *desc = new Desc{compute_type, scale_type};
  return kCublasSuccess;
}
int DescDestroy(CublasLtMatmulDesc desc) {
  delete static_cast<Desc*>(desc);
  return kCublasSuccess;
}
int DescSet(CublasLtMatmulDesc desc, int attribute, const void* value, size_t bytes) {
  if (attribute != kCublasLtDescTransposeA || bytes != sizeof(int)) return kInvalidValue;
  std::memcpy(&static_cast<Desc*>(desc)->transpose_a, value, bytes);
  return kCublasSuccess;
}
int LayoutCreate(CublasLtLayout* layout, int type, uint64_t rows, uint64_t cols,
                 int64_t leading_dimension) {
  *layout = new Layout{type, rows, cols, leading_dimension};
  return kCublasSuccess;
}
int LayoutDestroy(CublasLtLayout layout) {
  delete static_cast<Layout*>(layout);
  return kCublasSuccess;
}
int PreferenceCreate(CublasLtPreference* preference) {
  *preference = new Preference;
  return kCublasSuccess;
}
int PreferenceDestroy(CublasLtPreference preference) {
  delete static_cast<Preference*>(preference);
  return kCublasSuccess;
}
int PreferenceSet(CublasLtPreference preference, int attribute, const void* value, size_t bytes) {
  auto* const p = static_cast<Preference*>(preference);
  if (attribute == kCublasLtPreferenceWorkspaceBytes) {
    if (bytes != sizeof(p->workspace_bytes)) return kInvalidValue;
    std::memcpy(&p->workspace_bytes, value, bytes);
    return kCublasSuccess;
  }
  const int matrix = attribute - kCublasLtPreferenceAlignmentA;
  if (matrix < 0 || matrix >= 4 || bytes != sizeof(uint32_t)) return kInvalidValue;
  std::memcpy(&p->alignment[matrix], value, bytes);
  return kCublasSuccess;
}

// M, N and K, where the matrices fit each other as column-major [K, N]^T [K, M] = [N, M].
struct Shape {
  bool valid = false;
  int m = 0, n = 0, k = 0;
};
Shape ShapeOf(CublasLtMatmulDesc desc, CublasLtLayout a, CublasLtLayout b, CublasLtLayout c,
              CublasLtLayout d) {
  const auto& operation = *static_cast<const Desc*>(desc);
  const auto& w = *static_cast<const Layout*>(a);
  const auto& x = *static_cast<const Layout*>(b);
  const auto& out = *static_cast<const Layout*>(d);
  const auto dense = [](const Layout& l) { return l.leading_dimension == int64_t(l.rows); };
  const bool valid =
      operation.compute_type == kCublasComputeF32 && operation.scale_type == kCudaF32 &&
      operation.transpose_a == kCublasTranspose && c == d && w.type == kCudaBf16 &&
      x.type == kCudaBf16 && (out.type == kCudaF32 || out.type == kCudaBf16) && dense(w) &&
      dense(x) && dense(out) && w.rows == x.rows && out.rows == w.cols && out.cols == x.cols;
  return {valid, int(x.cols), int(w.cols), int(w.rows)};
}

template <EmulatedAlgorithm... kAlgorithms>
int Heuristic(CublasLtHandle, CublasLtMatmulDesc desc, CublasLtLayout a, CublasLtLayout b,
              CublasLtLayout c, CublasLtLayout d, CublasLtPreference preference, int wanted,
              CublasLtHeuristic* results, int* count) {
  ++CublasLtCounts().heuristics;
  *count = 0;
  const Shape shape = ShapeOf(desc, a, b, c, d);
  if (!shape.valid || wanted < 1) return kInvalidValue;
  if (shape.n % 4 != 0) return kCublasNotSupported;
  const auto& wishes = *static_cast<const Preference*>(preference);
  for (const EmulatedAlgorithm algorithm : {kAlgorithms...}) {
    if (*count == wanted) break;
    CublasLtHeuristic& result = results[(*count)++];
    result = {};
    result.algorithm.data[0] = static_cast<uint64_t>(algorithm);
    if (algorithm == EmulatedAlgorithm::kGreedy) {
      result.workspace_bytes = wishes.workspace_bytes + 1;
      result.state = kCublasNotSupported;
    }
  }
  return kCublasSuccess;
}

template <class T>
cudaError_t Multiply(T* out, const void* x, const void* w, const Shape& shape, float before,
                     int work, cudaStream_t stream) {
  constexpr int kThreads = 128;
  return Launch(PlainMatmulKernel<T>, dim3(CeilDiv(shape.m * CeilDiv(shape.n, kColumns), kThreads)),
                dim3(kThreads), 0, stream, out, static_cast<const bf16*>(x),
                static_cast<const bf16*>(w), shape.m, shape.n, shape.k, before, work);
}

int Matmul(CublasLtHandle, CublasLtMatmulDesc desc, const void* alpha, const void* a,
           CublasLtLayout a_layout, const void* b, CublasLtLayout b_layout, const void* beta,
           const void* c, CublasLtLayout c_layout, void* d, CublasLtLayout d_layout,
           const CublasLtAlgorithm* algorithm, void*, size_t, cudaStream_t stream) {
  const Shape shape = ShapeOf(desc, a_layout, b_layout, c_layout, d_layout);
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  if (!shape.valid || *static_cast<const float*>(alpha) != 1 || c != d || !aligned(a) ||
      !aligned(b) || !aligned(d)) {
    return kInvalidValue;
  }
  const auto chosen = static_cast<EmulatedAlgorithm>(algorithm->data[0]);
  static std::set<std::tuple<int, int, int, EmulatedAlgorithm>> seen;
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream, &capture) != cudaSuccess) return kInvalidValue;
  const bool recording = capture == cudaStreamCaptureStatusActive;
  const auto product = std::tuple(shape.m, shape.n, shape.k, chosen);
  if (recording && !seen.contains(product)) return kInvalidValue;
  seen.insert(product);
  if (chosen == EmulatedAlgorithm::kRefused) return kCublasNotSupported;
  if (chosen == EmulatedAlgorithm::kGreedy) return kInvalidValue;
  const int work = chosen == EmulatedAlgorithm::kSlow ? kWorkOfSlow : 1;
  const float before = *static_cast<const float*>(beta);
  const bool rounded = static_cast<const Layout*>(d_layout)->type == kCudaBf16;
  const cudaError_t error =
      rounded ? Multiply(static_cast<bf16*>(d), b, a, shape, before, work, stream)
              : Multiply(static_cast<float*>(d), b, a, shape, before, work, stream);
  if (error != cudaSuccess) return kInvalidValue;
  EmulatedCublasLtCounts& counts = CublasLtCounts();
  const int64_t m = shape.m, n = shape.n, k = shape.k;
  ++counts.products;
  counts.recorded += recording ? 1 : 0;
  counts.last_algorithm = chosen;
  counts.flops += 2 * m * n * k;
  counts.bytes += 2 * (m + n) * k + (rounded ? 2 : before != 0 ? 8 : 4) * m * n;
  return kCublasSuccess;
}

}  // namespace

CublasLtApi EmulatedCublasLt() {
  return {.version = Version,
          .status_name = StatusName,
          .create = Create,
          .destroy = Destroy,
          .desc_create = DescCreate,
          .desc_destroy = DescDestroy,
          .desc_set = DescSet,
          .layout_create = LayoutCreate,
          .layout_destroy = LayoutDestroy,
          .preference_create = PreferenceCreate,
          .preference_destroy = PreferenceDestroy,
          .preference_set = PreferenceSet,
          .heuristic = Heuristic<EmulatedAlgorithm::kSlow, EmulatedAlgorithm::kRefused,
                                 EmulatedAlgorithm::kGreedy, EmulatedAlgorithm::kFast>,
          .matmul = Matmul};
}

CublasLtApi QuickCublasLt() {
  CublasLtApi api = EmulatedCublasLt();
  api.heuristic = Heuristic<EmulatedAlgorithm::kRefused, EmulatedAlgorithm::kFast>;
  return api;
}

EmulatedCublasLtCounts& CublasLtCounts() {
  static EmulatedCublasLtCounts counts;
  return counts;
}

}  // namespace kvasir::cuda
