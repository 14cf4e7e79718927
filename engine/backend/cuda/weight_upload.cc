#include "engine/backend/cuda/weight_upload.h"

#include <algorithm>
#include <cstring>

#include "engine/backend/host_element.h"
#include "engine/check.h"

namespace kvasir::cuda {

WeightUpload::WeightUpload(cudaStream_t stream) : stream_(stream) {
  for (Staging& staging : staging_) {
    CheckCuda(cudaEventCreateWithFlags(&staging.copied, cudaEventDisableTiming),
              "creating an event");
  }
}

absl::Status WeightUpload::Allocate() {
  for (Staging& staging : staging_) {
    const absl::Status status =
        PinnedBuffer::Allocate(kStagingBytes, "uploading weights", staging.memory);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

WeightUpload::~WeightUpload() {
  (void)cudaStreamSynchronize(stream_);  // copies still read the staging memory
  for (Staging& staging : staging_) (void)cudaEventDestroy(staging.copied);
}

template <typename RowOf>
void WeightUpload::Rows(int rows, int cols, char* to, const RowOf& row_of) {
  const size_t row_bytes = size_t(cols) * 2;
  const int at_a_time = static_cast<int>(std::max<size_t>(1, kStagingBytes / row_bytes));
  KVASIR_CHECK(row_bytes <= kStagingBytes);
  for (int begin = 0; begin < rows; begin += at_a_time) {
    const int end = std::min(rows, begin + at_a_time);
    Staging& staging = staging_[turn_];
    turn_ ^= 1;
#if !defined(BUG_UPLOAD_STAGING_REUSED)  // planted: filled again while it is still being copied
    CheckCuda(cudaEventSynchronize(staging.copied), "uploading weights");
#endif
    char* out = static_cast<char*>(staging.memory->data());
    for (int row = begin; row < end; ++row, out += row_bytes) {
      const auto [data, dtype] = row_of(row);
      if (dtype == DType::kBf16) {
        std::memcpy(out, data, row_bytes);
        continue;
      }
      for (int i = 0; i < cols; ++i) {
        const uint16_t bits = ElementToBf16(data, dtype, i);
        std::memcpy(out + size_t(i) * 2, &bits, sizeof(bits));
      }
    }
    CheckCuda(cudaMemcpyAsync(to + begin * row_bytes, staging.memory->data(),
                              (end - begin) * row_bytes, cudaMemcpyHostToDevice, stream_),
              "uploading weights");
    CheckCuda(cudaEventRecord(staging.copied, stream_), "uploading weights");
  }
}

namespace {

struct SourceRow {
  const char* data = nullptr;
  DType dtype = DType::kBf16;
};

SourceRow RowOf(const HostMatrix& matrix, int row) {
  return {static_cast<const char*>(matrix.data) + size_t(row) * matrix.cols * SizeOf(matrix.dtype),
          matrix.dtype};
}

}  // namespace

void WeightUpload::Stack(std::span<const HostMatrix> parts, void* to) {
  char* out = static_cast<char*>(to);
  for (const HostMatrix& part : parts) {
    Rows(part.rows, part.cols, out, [&part](int row) { return RowOf(part, row); });
    out += size_t(part.rows) * part.cols * 2;
  }
}

void WeightUpload::Interleave(const HostMatrix& gate, const HostMatrix& up, void* to) {
  KVASIR_CHECK(gate.rows == up.rows && gate.cols == up.cols && gate.rows % kGateRows == 0);
  Rows(2 * gate.rows, gate.cols, static_cast<char*>(to), [&](int row) {
    const int group = row / (2 * kGateRows);
    const int in_group = row % (2 * kGateRows);
    const HostMatrix& part = in_group < kGateRows ? gate : up;
    return RowOf(part, group * kGateRows + in_group % kGateRows);
  });
}

void WeightUpload::Vector(const HostMatrix& vector, void* to) {
  const size_t count = size_t(vector.rows) * vector.cols;
  KVASIR_CHECK(count * sizeof(float) <= kStagingBytes);
  Staging& staging = staging_[turn_];
  turn_ ^= 1;
  CheckCuda(cudaEventSynchronize(staging.copied), "uploading weights");
  float* out = static_cast<float*>(staging.memory->data());
  for (size_t i = 0; i < count; ++i) out[i] = ElementToFloat(vector.data, vector.dtype, i);
  CheckCuda(cudaMemcpyAsync(to, out, count * sizeof(float), cudaMemcpyHostToDevice, stream_),
            "uploading weights");
  CheckCuda(cudaEventRecord(staging.copied, stream_), "uploading weights");
}

}  // namespace kvasir::cuda
