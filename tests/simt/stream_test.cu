// Streams, events and graphs: the host's mistakes show, and what is right works, under every
// schedule.

#include <simt.h>

#include <cstring>
#include <vector>

#include "engine/backend/cuda/gpu.cuh"
#include "tests/engine/backend/cuda/device_testing.h"

namespace kvasir::cuda {
namespace {

constexpr int kSize = 64;

__global__ void AddKernel(int* data, int value) { data[threadIdx.x] += value; }
__global__ void LargeKernel(int* data) {
  KVASIR_DYNAMIC_SHARED(int, shared);
  shared[0] = 5;
  data[0] = shared[0];
}

class Pinned {
 public:
  explicit Pinned(int value) {
    KVASIR_CHECK(cudaMallocHost(&data_, kSize * sizeof(int)) == cudaSuccess);
    for (int i = 0; i < kSize; ++i) data_[i] = value;
  }
  ~Pinned() { (void)cudaFreeHost(data_); }
  int* get() const { return data_; }

 private:
  int* data_ = nullptr;
};
class SimtStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    for (cudaStream_t* stream : {&a_, &b_}) {
      ASSERT_EQ(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), cudaSuccess);
    }
    ASSERT_EQ(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), cudaSuccess);
  }
  void TearDown() override {
    EXPECT_EQ(cudaStreamDestroy(a_), cudaSuccess);
    EXPECT_EQ(cudaStreamDestroy(b_), cudaSuccess);
    EXPECT_EQ(cudaEventDestroy(event_), cudaSuccess);
    simt::SetSchedule({});
    (void)cudaGetLastError();
  }
  cudaError_t Add(int* data, int value, cudaStream_t stream) {
    return Launch(AddKernel, 1, kSize, 0, stream, data, value);
  }
  cudaError_t Copy(void* to, const void* from, cudaMemcpyKind kind, cudaStream_t stream) {
    return cudaMemcpyAsync(to, from, kSize * sizeof(int), kind, stream);
  }
  // Waits for everything but checks nothing.
  std::vector<int> Values(const int* data) {
    std::vector<int> values(kSize);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(values.data(), data, kSize * sizeof(int), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return values;
  }

  cudaStream_t a_ = nullptr;
  cudaStream_t b_ = nullptr;
  cudaEvent_t event_ = nullptr;
};

// a_ produces 4, b_ copies it to pinned memory. What the host then sees.
struct Mistakes {
  bool no_event = false;     // the consumer does not wait for the producer
  bool no_wait = false;      // the host reads without waiting
  bool early_reuse = false;  // the staging buffer is overwritten while it may yet be read
};

TEST_F(SimtStreamTest, OrderHasToBeAskedFor) {
  const auto run = [&](const Mistakes& mistakes) {
    const DeviceArray<int> data(kSize), copy(std::vector<int>(kSize, 0));
    const Pinned staging(1), result(0);
    EXPECT_EQ(Copy(data.get(), staging.get(), cudaMemcpyHostToDevice, a_), cudaSuccess);
    if (mistakes.early_reuse) staging.get()[0] = 100;
    EXPECT_EQ(Add(data.get(), 3, a_), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(event_, a_), cudaSuccess);
    if (!mistakes.no_event) {
      EXPECT_EQ(cudaStreamWaitEvent(b_, event_, 0), cudaSuccess);
    }
    EXPECT_EQ(Copy(copy.get(), data.get(), cudaMemcpyDeviceToDevice, b_), cudaSuccess);
    EXPECT_EQ(Copy(result.get(), copy.get(), cudaMemcpyDeviceToHost, b_), cudaSuccess);
    if (!mistakes.no_wait) {
      EXPECT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
    }
    const bool right = result.get()[0] == 4 && result.get()[kSize - 1] == 4;
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return right;
  };
  ForEachSchedule([&] { EXPECT_TRUE(run({})); });
  simt::SetSchedule({simt::Order::kReversed, 0});
  EXPECT_FALSE(run({.no_event = true}));
  EXPECT_FALSE(run({.no_wait = true}));
  EXPECT_FALSE(run({.early_reuse = true}));
}

TEST_F(SimtStreamTest, PageableMemoryIsReadAtTheCall) {
  ForEachSchedule([&] {
    const DeviceArray<int> data(kSize);
    std::vector<int> host(kSize, 6);
    EXPECT_EQ(Copy(data.get(), host.data(), cudaMemcpyHostToDevice, a_), cudaSuccess);
    host.assign(kSize, 0);
    EXPECT_EQ(Values(data.get()), std::vector<int>(kSize, 6));
  });
}

TEST_F(SimtStreamTest, TheDefaultStreamWaitsForBlockingOnesAlone) {
  const auto run = [&](unsigned flags) {
    const DeviceArray<int> data(std::vector<int>(kSize, 0));
    cudaStream_t stream = nullptr;
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, flags), cudaSuccess);
    EXPECT_EQ(Add(data.get(), 1, stream), cudaSuccess);
    std::vector<int> values(kSize);
    EXPECT_EQ(Copy(values.data(), data.get(), cudaMemcpyDeviceToHost, nullptr), cudaSuccess);
    EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
    return values[0];
  };
  ForEachSchedule([&] { EXPECT_EQ(run(cudaStreamDefault), 1); });
  simt::SetSchedule({simt::Order::kReversed, 0});
  EXPECT_EQ(run(cudaStreamNonBlocking), 0);
}

TEST_F(SimtStreamTest, EventsTellWhenTheyAreReached) {
  ForEachSchedule([&] {
    const DeviceArray<int> data(std::vector<int>(kSize, 0));
    cudaEvent_t begin = nullptr, end = nullptr;
    float milliseconds = -1;
    ASSERT_EQ(cudaEventCreate(&begin), cudaSuccess);
    ASSERT_EQ(cudaEventCreate(&end), cudaSuccess);
    EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaErrorInvalidResourceHandle);
    ASSERT_EQ(cudaEventRecord(begin, a_), cudaSuccess);
    ASSERT_EQ(Add(data.get(), 1, a_), cudaSuccess);
    ASSERT_EQ(cudaEventRecord(end, a_), cudaSuccess);
    while (cudaEventQuery(end) == cudaErrorNotReady) {
    }
    EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaSuccess);
    EXPECT_GE(milliseconds, 0);
    EXPECT_EQ(cudaStreamQuery(a_), cudaSuccess);
    EXPECT_EQ(cudaEventDestroy(begin), cudaSuccess);
    EXPECT_EQ(cudaEventDestroy(end), cudaSuccess);
  });
}

TEST_F(SimtStreamTest, AGraphKeepsItsArgumentsAndReadsMemoryAnew) {
  ForEachSchedule([&] {
    const DeviceArray<int> data(std::vector<int>(kSize, 0));
    const Pinned staging(10);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    int value = 1;
    ASSERT_EQ(LoadKernel(AddKernel), cudaSuccess);
    ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    ASSERT_EQ(Copy(data.get(), staging.get(), cudaMemcpyHostToDevice, a_), cudaSuccess);
    ASSERT_EQ(Add(data.get(), value, a_), cudaSuccess);
    ASSERT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    EXPECT_EQ(Values(data.get())[3], 0);  // nothing was done yet
    value = 2;
    const simt::Statistics before = simt::ReadStatistics();
    for (const int round : {20, 30}) {
      staging.get()[3] = round;
      ASSERT_EQ(cudaGraphLaunch(executable, a_), cudaSuccess);
      EXPECT_EQ(Values(data.get())[3], round + 1);
    }
    const simt::Statistics after = simt::ReadStatistics();
    EXPECT_EQ(after.graph_launches - before.graph_launches, 2);
    EXPECT_EQ(after.launches - before.launches, 2);
    EXPECT_EQ(after.single_launches, before.single_launches);
    EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
  });
}

__global__ void NewKernel(int* data) { data[threadIdx.x] = 1; }

TEST_F(SimtStreamTest, ACaptureTakesNoKernelThatIsNotLoaded) {
  const DeviceArray<int> data(kSize);
  cudaGraph_t graph = nullptr;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(cudaStreamIsCapturing(a_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  EXPECT_EQ(Launch(NewKernel, 1, kSize, 0, a_, data.get()), cudaErrorStreamCaptureUnsupported);
  ASSERT_EQ(LoadKernel(NewKernel), cudaSuccess);
  EXPECT_EQ(Launch(NewKernel, 1, kSize, 0, a_, data.get()), cudaSuccess);
  ASSERT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
  EXPECT_EQ(cudaStreamIsCapturing(a_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusNone);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_F(SimtStreamTest, AGraphMayBeOnTheDeviceBeforeItIsLaunched) {
  for (const bool upload : {false, true}) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    ASSERT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
    ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    if (upload) {
      ASSERT_EQ(cudaGraphUpload(executable, a_), cudaSuccess);
    }
    const simt::Statistics before = simt::ReadStatistics();
    for (int i = 0; i < 2; ++i) EXPECT_EQ(cudaGraphLaunch(executable, a_), cudaSuccess);
    const simt::Statistics after = simt::ReadStatistics();
    EXPECT_EQ(after.graph_launches - before.graph_launches, 2);
    EXPECT_EQ(after.cold_graph_launches - before.cold_graph_launches, upload ? 0 : 1);
    EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
  }
}

TEST_F(SimtStreamTest, ACaptureTakesWorkAlone) {
  const DeviceArray<int> data(kSize);
  std::vector<int> pageable(kSize);
  cudaGraph_t graph = nullptr;
  void* memory = nullptr;
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeThreadLocal),
            cudaErrorStreamCaptureUnsupported);
  ASSERT_EQ(cudaStreamBeginCapture(a_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(a_), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaEventRecord(event_, a_), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(Copy(data.get(), pageable.data(), cudaMemcpyHostToDevice, a_),
            cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(Add(data.get(), 1, nullptr), cudaErrorStreamCaptureImplicit);
  EXPECT_EQ(cudaStreamSynchronize(b_), cudaSuccess);
  ASSERT_EQ(cudaStreamEndCapture(a_, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(a_, &graph), cudaErrorInvalidValue);
}

TEST_F(SimtStreamTest, AWrongLaunchIsAnErrorAndDoesNothing) {
  const DeviceArray<int> data(std::vector<int>(kSize, 0));
  EXPECT_EQ(Launch(AddKernel, 0, kSize, 0, a_, data.get(), 1), cudaErrorInvalidConfiguration);
  EXPECT_EQ(Launch(AddKernel, 1, 1025, 0, a_, data.get(), 1), cudaErrorInvalidConfiguration);
  EXPECT_EQ(Launch(AddKernel, dim3(1, 65536), 1, 0, a_, data.get(), 1),
            cudaErrorInvalidConfiguration);
  constexpr int kLarge = 64 << 10;
  EXPECT_EQ(Launch(LargeKernel, 1, 1, kLarge, a_, data.get()), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(Values(data.get())[0], 0);
  ASSERT_EQ(cudaFuncSetAttribute(LargeKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kLarge),
            cudaSuccess);
  EXPECT_EQ(Launch(LargeKernel, 1, 1, kLarge, a_, data.get()), cudaSuccess);
  EXPECT_EQ(Values(data.get())[0], 5);
}

}  // namespace
}  // namespace kvasir::cuda
