#include "engine/backend/cuda/cublaslt_api.h"

#include <dlfcn.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kvasir::cuda {
namespace {

// Resolves names until one is missing.
class Symbols {
 public:
  Symbols(void* library, const char* path) : library_(library), path_(path) {}

  template <class Function>
  void Resolve(Function*& function, const char* name) {
    if (!status_.ok()) return;
    function = reinterpret_cast<Function*>(dlsym(library_, name));
    if (function == nullptr) {
      status_ = absl::NotFoundError(absl::StrCat(path_, " lacks ", name));
    }
  }
  const absl::Status& status() const { return status_; }

 private:
  void* library_;
  const char* path_;
  absl::Status status_;
};

absl::StatusOr<CublasLtApi> ResolveAll(void* library, const char* path) {
  CublasLtApi api = {};
  Symbols symbols(library, path);
  symbols.Resolve(api.version, "cublasLtGetVersion");
  symbols.Resolve(api.status_name, "cublasLtGetStatusName");
  symbols.Resolve(api.create, "cublasLtCreate");
  symbols.Resolve(api.destroy, "cublasLtDestroy");
  symbols.Resolve(api.desc_create, "cublasLtMatmulDescCreate");
  symbols.Resolve(api.desc_destroy, "cublasLtMatmulDescDestroy");
  symbols.Resolve(api.desc_set, "cublasLtMatmulDescSetAttribute");
  symbols.Resolve(api.layout_create, "cublasLtMatrixLayoutCreate");
  symbols.Resolve(api.layout_destroy, "cublasLtMatrixLayoutDestroy");
  symbols.Resolve(api.preference_create, "cublasLtMatmulPreferenceCreate");
  symbols.Resolve(api.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  symbols.Resolve(api.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  symbols.Resolve(api.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  symbols.Resolve(api.matmul, "cublasLtMatmul");
  if (!symbols.status().ok()) return symbols.status();
  return api;
}

}  // namespace

absl::StatusOr<CublasLtApi> LoadCublasLt() {
  static constexpr const char* kLibraries[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
  return LoadCublasLt(kLibraries);
}

absl::StatusOr<CublasLtApi> LoadCublasLt(std::span<const char* const> libraries) {
  std::string tried;
  for (const char* const path : libraries) {
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) {
      absl::StatusOr<CublasLtApi> api = ResolveAll(library, path);
      if (!api.ok()) dlclose(library);
      return api;
    }
    const char* const error = dlerror();
    absl::StrAppend(&tried, tried.empty() ? "" : "; ", error != nullptr ? error : path);
  }
  return absl::NotFoundError(absl::StrCat("cuBLASLt was not found: ", tried));
}

}  // namespace kvasir::cuda
