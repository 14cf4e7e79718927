#ifndef KVASIR_ENGINE_OPEN_BACKEND_H_
#define KVASIR_ENGINE_OPEN_BACKEND_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/plugin.h"

namespace kvasir {

struct BackendChoice {
  // "auto": a GPU where one can be used, else the CPU. "cpu". "cuda", "cuda:N".
  std::string device = "auto";
  CpuBackendOptions cpu;
  GpuBackendOptions gpu;
  // Asked of a GPU that has been opened, e.g. whether the model fits: not OK counts as not opened.
  std::function<absl::Status(Backend&)> accept;
  // The GPU's library; empty: libkvasir_cuda.so beside the program, then where the system looks.
  std::string plugin;
};

struct OpenedBackend {
  std::unique_ptr<Backend> backend;
  bool on_gpu = false;
  // Why "auto" did not take a GPU, one line; empty where it took one, or nothing was tried.
  std::string fallback;
};

// INVALID_ARGUMENT where `device` is none of BackendChoice's.
absl::Status CheckDevice(std::string_view device);

// INVALID_ARGUMENT: no such device, or a model or dtype that it does not compute. NOT_FOUND: no
// library, driver or device. FAILED_PRECONDITION, RESOURCE_EXHAUSTED: as Plugin says. The library
// stays loaded for as long as the process lives.
absl::StatusOr<OpenedBackend> OpenBackend(const BackendChoice& choice);

}  // namespace kvasir

#endif  // KVASIR_ENGINE_OPEN_BACKEND_H_
