// plugin.cc with a stand-in for cuBLASLt: the library in its default mode, where products of many
// rows are not our own kernel's.
#include <string>
#include <utility>

#include "engine/backend/cuda/cuda_backend.h"
#include "engine/backend/plugin.h"
#include "tests/engine/backend/cuda/emulated_cublaslt.h"

extern "C" const kvasir::Plugin* kvasir_plugin() {
  static constexpr kvasir::Plugin kPlugin = {
      .interface = kvasir::PluginInterface(KVASIR_PLUGIN_INTERFACE),
      .create = [](const kvasir::GpuBackendOptions& options,
                   std::unique_ptr<kvasir::Backend>& backend, std::string& error) {
        const kvasir::cuda::CublasLtApi library = kvasir::cuda::QuickCublasLt();
        absl::StatusOr<std::unique_ptr<kvasir::Backend>> created =
            kvasir::cuda::CreateCudaBackend(options, options.deterministic ? nullptr : &library);
        if (!created.ok()) {
          error = std::string(created.status().message());
          return static_cast<int>(created.status().code());
        }
        backend = *std::move(created);
        return 0;
      }};
  return &kPlugin;
}
