#ifndef KVASIR_ENGINE_BACKEND_CPU_CPU_BACKEND_H_
#define KVASIR_ENGINE_BACKEND_CPU_CPU_BACKEND_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"

namespace kvasir {

struct CpuBackendOptions {
  AttentionShape attention;
  DType dtype = DType::kBf16;  // kBf16 or kF32: weights, activations and KV
  int threads = 0;             // 0: one per available core
  // "auto", "amx", "avx512bf16", "avx512", "avx2". FAILED_PRECONDITION where this CPU lacks it.
  std::string kernel = "auto";
  bool touch_kv = false;  // the KV pool's pages are brought into memory when it is allocated
};

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuBackendOptions& options);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_BACKEND_CPU_CPU_BACKEND_H_
