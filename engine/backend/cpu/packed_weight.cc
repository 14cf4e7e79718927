#include "engine/backend/cpu/packed_weight.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/backend/cpu/host_memory.h"
#include "engine/backend/host_element.h"
#include "engine/check.h"

namespace kvasir {
namespace {

constexpr size_t kLineBytes = 64;

struct SourceRow {
  const char* data = nullptr;
  DType dtype = DType::kBf16;
};

SourceRow FindRow(std::span<const HostMatrix> parts, int row) {
  for (const HostMatrix& part : parts) {
    if (row < part.rows) {
      return {static_cast<const char*>(part.data) + size_t(row) * part.cols * SizeOf(part.dtype),
              part.dtype};
    }
    row -= part.rows;
  }
  return {};
}

// One row into its column of a panel, for the lines [begin, end).
void PackColumn(SourceRow row, int k, DType dtype, int begin, int end, char* column) {
  char* to = column + begin * kLineBytes;
  if (dtype == DType::kF32) {
    for (int line = begin; line < end; ++line, to += kLineBytes) {
      const float value = ElementToFloat(row.data, row.dtype, line);
      std::memcpy(to, &value, 4);
    }
    return;
  }
  const int whole = std::min(end, k / 2);
  int line = begin;
  if (row.dtype == DType::kBf16) {
    for (; line < whole; ++line, to += kLineBytes) {
      std::memcpy(to, row.data + size_t(line) * 4, 4);
    }
  }
  for (; line < end; ++line, to += kLineBytes) {
    const uint32_t low = ElementToBf16(row.data, row.dtype, 2 * line);
    const uint32_t high =
        2 * line + 1 < k ? ElementToBf16(row.data, row.dtype, 2 * line + 1) : uint32_t{0};
    const uint32_t pair = low | high << 16;
    std::memcpy(to, &pair, 4);
  }
}

}  // namespace

PackedWeight PackWeight(std::span<const HostMatrix> parts, DType dtype, ThreadPool& pool) {
  KVASIR_CHECK(!parts.empty() && dtype != DType::kF16);
  PackedWeight packed;
  packed.dtype = dtype;
  packed.cols = parts[0].cols;
  for (const HostMatrix& part : parts) {
    KVASIR_CHECK(part.cols == packed.cols && part.rows > 0 && part.cols > 0);
    packed.rows += part.rows;
  }
  const int lines = PanelLines(packed.cols, dtype);
  const int panels = PanelCount(packed.rows);
  packed.data = MapHostMemory(size_t(panels) * lines * kLineBytes);
  if (packed.data == nullptr) return packed;
  char* base = static_cast<char*>(packed.data->data());
  pool.ParallelFor(panels, [&](int panel, int) {
    constexpr int kLinesAtATime = 64;  // 16 rows x 64 lines: source and target stay in L1
    char* to = base + size_t(panel) * lines * kLineBytes;
    const int columns = std::min(16, packed.rows - panel * 16);
    for (int begin = 0; begin < lines; begin += kLinesAtATime) {
      const int end = std::min(lines, begin + kLinesAtATime);
      for (int column = 0; column < columns; ++column) {
        PackColumn(FindRow(parts, panel * 16 + column), packed.cols, dtype, begin, end,
                   to + column * 4);
      }
    }
  });
  return packed;
}

void UnpackRow(const PackedWeight& weight, int row, float* out) {
  const int lines = PanelLines(weight.cols, weight.dtype);
  const char* column = static_cast<const char*>(weight.data->data()) +
                       size_t(row / 16) * lines * kLineBytes + row % 16 * 4;
  if (weight.dtype == DType::kF32) {
    for (int k = 0; k < weight.cols; ++k) std::memcpy(out + k, column + k * kLineBytes, 4);
    return;
  }
  for (int k = 0; k < weight.cols; k += 2) {
    uint32_t pair;
    std::memcpy(&pair, column + k / 2 * kLineBytes, 4);
    out[k] = std::bit_cast<float>(pair << 16);
    if (k + 1 < weight.cols) out[k + 1] = std::bit_cast<float>(pair & 0xffff0000);
  }
}

void ConvertToFloat(const void* from, DType dtype, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    out[i] = ElementToFloat(from, dtype, i);
  }
}

}  // namespace kvasir
