// What the GPU at hand can do at most, as one JSON object: the yardsticks of gpu_bench.
//
//   copy_bytes_per_second   a kernel that copies, bytes read and bytes written both counted
//   read_bytes_per_second   a kernel that only reads
//   gemm_flops_per_second   a bf16 product of 8192 x 8192 x 8192 with f32 sums and random numbers,
//                           by `gemm_by`: cuBLASLt where it is found, else our own kernel
//   own_gemm_flops_per_second  the same by our own kernel
//
// Bandwidths are the best of several shapes of a launch, each over and over; the products' rate is
// the median of half a second, in which the clock settles.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/cuda/cublaslt_matmul.h"
#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/gpu.cuh"
#include "engine/backend/cuda/kernels.h"
#include "engine/check.h"

namespace kvasir::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kUnroll = 4;  // loads that a thread has under way
constexpr int kRounds = 20;
constexpr int kSide = 8192;   // of the matrices
constexpr int kProducts = 5;  // timed together
constexpr double kGemmSeconds = 0.5;
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

// data: [count];  REQUIRES: count is a multiple of kUnroll * kThreads.
__global__ void ReadKernel(const uint4* data, size_t count, unsigned* sink) {
  unsigned all = 0;
  for (size_t tile = size_t(blockIdx.x) * kUnroll * kThreads; tile < count;
       tile += size_t(gridDim.x) * kUnroll * kThreads) {
    uint4 v[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) v[i] = LoadOnce16(data + tile + i * kThreads + threadIdx.x);
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) all |= v[i].x & v[i].y & v[i].z & v[i].w;
  }
  // Never so: bit 14 of a bf16 below 2 is not set. The compiler does not know.
  if (all == ~0u) *sink = all;
}

// from, to: [count], as above.
__global__ void CopyKernel(uint4* to, const uint4* from, size_t count) {
  for (size_t tile = size_t(blockIdx.x) * kUnroll * kThreads; tile < count;
       tile += size_t(gridDim.x) * kUnroll * kThreads) {
    uint4 v[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) v[i] = LoadOnce16(from + tile + i * kThreads + threadIdx.x);
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) to[tile + i * kThreads + threadIdx.x] = v[i];
  }
}

// Numbers of both signs from 2^-7 to 2^-5. out: [count]
__global__ void RandomKernel(bf16* out, size_t count, unsigned seed) {
  for (size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += size_t(gridDim.x) * kThreads) {
    unsigned bits = static_cast<unsigned>(i) * 2654435761u + seed;
    bits ^= bits >> 16;
    bits *= 2246822519u;
    bits ^= bits >> 13;
    const float magnitude = 0x1p-7f * static_cast<float>(1 + (bits & 127) * (3.0f / 128));
    out[i] = __float2bfloat16((bits & 128) != 0 ? magnitude : -magnitude);
  }
}

class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    CheckCuda(cudaEventCreate(&start_), "creating an event");
    CheckCuda(cudaEventCreate(&stop_), "creating an event");
  }
  ~Stopwatch() {
    (void)cudaEventDestroy(start_);
    (void)cudaEventDestroy(stop_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  // Seconds of what `enqueue` puts on the stream.
  template <class Enqueue>
  double Time(const Enqueue& enqueue) {
    CheckCuda(cudaEventRecord(start_, stream_), "timing");
    enqueue();
    CheckCuda(cudaEventRecord(stop_, stream_), "timing");
    CheckCuda(cudaEventSynchronize(stop_), "timing");
    float milliseconds = 0;
    CheckCuda(cudaEventElapsedTime(&milliseconds, start_, stop_), "timing");
    return milliseconds * 1e-3;
  }

 private:
  const cudaStream_t stream_;
  cudaEvent_t start_ = nullptr;
  cudaEvent_t stop_ = nullptr;
};

struct Limits {
  double copy = 0;
  double read = 0;
  double gemm = 0;
  double own_gemm = 0;
  std::string gemm_by = "own";
};

std::unique_ptr<Buffer> MustAllocate(DeviceMemory& memory, size_t bytes) {
  std::unique_ptr<Buffer> buffer;
  const absl::Status status = memory.Allocate(bytes, "measuring", buffer);
  KVASIR_CHECK(status.ok());
  return buffer;
}

void MeasureBandwidth(const Device& device, DeviceMemory& memory, Stopwatch& watch,
                      cudaStream_t stream, Limits& limits) {
  constexpr size_t kTile = size_t{kUnroll} * kThreads * sizeof(uint4);
  const size_t wanted = std::min<size_t>(size_t{2} << 30, memory.available() / 4);
  const size_t bytes = wanted / kTile * kTile;
  const size_t count = bytes / sizeof(uint4);
  const std::unique_ptr<Buffer> from = MustAllocate(memory, bytes);
  const std::unique_ptr<Buffer> to = MustAllocate(memory, bytes);
  const std::unique_ptr<Buffer> sink = MustAllocate(memory, sizeof(unsigned));
  auto* source = static_cast<uint4*>(from->data());
  CheckCuda(Launch(RandomKernel, dim3(device.multiprocessors * 8), dim3(kThreads), 0, stream,
                   reinterpret_cast<bf16*>(source), bytes / sizeof(bf16), 1u),
            "filling memory");
  for (const int blocks_each : {2, 4, 8, 16, 32}) {
    const dim3 grid(device.multiprocessors * blocks_each);
    for (int round = 0; round < kRounds; ++round) {
      const double copy = watch.Time([&] {
        CheckCuda(Launch(CopyKernel, grid, dim3(kThreads), 0, stream,
                         static_cast<uint4*>(to->data()), const_cast<const uint4*>(source), count),
                  "copying");
      });
      const double read = watch.Time([&] {
        CheckCuda(
            Launch(ReadKernel, grid, dim3(kThreads), 0, stream, const_cast<const uint4*>(source),
                   count, static_cast<unsigned*>(sink->data())),
            "reading");
      });
      limits.copy = std::max(limits.copy, 2.0 * bytes / copy);
      limits.read = std::max(limits.read, bytes / read);
    }
  }
}

// Operations a second.
template <class Multiply>
double GemmRate(Stopwatch& watch, const Multiply& multiply) {
  multiply();
  std::vector<double> seconds;
  double total = 0;
  while (total < kGemmSeconds) {
    seconds.push_back(watch.Time([&] {
      for (int i = 0; i < kProducts; ++i) multiply();
    }));
    total += seconds.back();
  }
  const auto middle = seconds.begin() + seconds.size() / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  return 2.0 * kProducts * kSide * double(kSide) * kSide / *middle;
}

void MeasureGemm(const Device& device, DeviceMemory& memory, Stopwatch& watch, cudaStream_t stream,
                 Limits& limits) {
  constexpr size_t kCount = size_t{kSide} * kSide;
  const std::unique_ptr<Buffer> x = MustAllocate(memory, kCount * sizeof(bf16));
  const std::unique_ptr<Buffer> w = MustAllocate(memory, kCount * sizeof(bf16));
  const std::unique_ptr<Buffer> out = MustAllocate(memory, kCount * sizeof(float));
  const std::unique_ptr<Buffer> workspace = MustAllocate(memory, kWorkspaceBytes);
  unsigned seed = 1;
  for (const auto& matrix : {x.get(), w.get()}) {
    CheckCuda(Launch(RandomKernel, dim3(device.multiprocessors * 8), dim3(kThreads), 0, stream,
                     static_cast<bf16*>(matrix->data()), kCount, ++seed),
              "filling memory");
  }
  MatmulArgs args;
  args.x = static_cast<const bf16*>(x->data());
  args.w = static_cast<const bf16*>(w->data());
  args.m = args.n = args.k = kSide;
  args.out = static_cast<float*>(out->data());
  limits.own_gemm = GemmRate(watch, [&] { CheckCuda(Matmul(args, stream), "Matmul"); });
  limits.gemm = limits.own_gemm;

  const absl::StatusOr<CublasLtApi> api = LoadCublasLt();
  absl::Status status = api.status();
  if (api.ok()) {
    absl::StatusOr<std::unique_ptr<CublasLtMatmul>> library =
        CublasLtMatmul::Create(*api, workspace->data(), kWorkspaceBytes);
    status.Update(library.status());
    if (status.ok()) {
      (*library)->Tune({&args, 1}, 5, stream);
      limits.gemm = GemmRate(watch, [&] { status.Update((*library)->Run(args, stream)); });
      limits.gemm_by = "cublaslt-" + std::to_string(api->version());
    }
  }
  if (!status.ok()) {
    std::fprintf(stderr, "device_limits: %s\n", status.ToString().c_str());
    limits.gemm = limits.own_gemm;
    limits.gemm_by = "own";
  }
}

int Main(int index) {
  const absl::StatusOr<Device> device = OpenDevice(index);
  if (!device.ok()) {
    std::fprintf(stderr, "device_limits: %s\n", device.status().ToString().c_str());
    return 1;
  }
  DeviceMemory memory(device->total_memory, 0.9);
  cudaStream_t stream = nullptr;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  Limits limits;
  {
    Stopwatch watch(stream);
    MeasureBandwidth(*device, memory, watch, stream, limits);
    MeasureGemm(*device, memory, watch, stream, limits);
  }
  CheckCuda(cudaStreamDestroy(stream), "destroying a stream");
  int driver = 0;
  int runtime = 0;
  CheckCuda(cudaDriverGetVersion(&driver), "asking for the version");
  CheckCuda(cudaRuntimeGetVersion(&runtime), "asking for the version");
  std::printf(
      "{\"what\": \"limits\", \"device\": \"%s\", \"compute_capability\": \"%d.%d\", "
      "\"multiprocessors\": %d, \"memory_bytes\": %lld, \"driver\": %d, \"runtime\": %d, "
      "\"copy_bytes_per_second\": %.5g, \"read_bytes_per_second\": %.5g, "
      "\"gemm_flops_per_second\": %.5g, \"gemm_by\": \"%s\", "
      "\"own_gemm_flops_per_second\": %.5g}\n",
      device->name.c_str(), device->major, device->minor, device->multiprocessors,
      static_cast<long long>(device->total_memory), driver, runtime, limits.copy, limits.read,
      limits.gemm, limits.gemm_by.c_str(), limits.own_gemm);
  return 0;
}

}  // namespace
}  // namespace kvasir::cuda

int main(int argc, char** argv) { return kvasir::cuda::Main(argc == 2 ? std::atoi(argv[1]) : 0); }
