#include "engine/open_backend.h"

#include <dlfcn.h>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

constexpr char kLibrary[] = "libkvasir_cuda.so";

// "cuda" or "cuda:N".
absl::StatusOr<int> ParseGpu(std::string_view device) {
  if (device == "cuda") return 0;
  constexpr std::string_view kPrefix = "cuda:";
  int index = -1;
  if (device.substr(0, kPrefix.size()) == kPrefix) {
    const std::string_view digits = device.substr(kPrefix.size());
    const char* const last = digits.data() + digits.size();
    const auto [end, error] = std::from_chars(digits.data(), last, index);
    if (error == std::errc() && end == last && index >= 0) return index;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", std::string(device), "' is none of auto, cpu, cuda, cuda:N"));
}

absl::StatusOr<void*> LoadLibrary(const std::string& path) {
  std::string error;
  if (!path.empty()) {
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    error = dlerror();
  } else {
    std::error_code unknown;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", unknown);
    for (const std::filesystem::path& place :
         {program.parent_path() / kLibrary, std::filesystem::path(kLibrary)}) {
      if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
      absl::StrAppend(&error, error.empty() ? "" : "; ", dlerror());
    }
  }
  return absl::NotFoundError(absl::StrCat("no GPU library: ", error));
}

absl::StatusOr<const Plugin*> FindPlugin(void* library) {
  auto* const entry = reinterpret_cast<PluginFunction*>(dlsym(library, kPluginSymbol));
  const Plugin* const plugin = entry != nullptr ? entry() : nullptr;
  if (plugin == nullptr) {
    return absl::NotFoundError(absl::StrCat(kLibrary, " is no GPU library of Kvasir"));
  }
  constexpr uint64_t kOurs = PluginInterface(KVASIR_PLUGIN_INTERFACE);
  if (plugin->interface != kOurs) {
    return absl::NotFoundError(
        absl::StrCat(kLibrary, " is of another version of Kvasir than this program: interface ",
                     absl::Hex(plugin->interface, absl::kZeroPad16), ", not ",
                     absl::Hex(kOurs, absl::kZeroPad16)));
  }
  return plugin;
}

absl::StatusOr<std::unique_ptr<Backend>> OpenGpu(const BackendChoice& choice) {
  if (choice.cpu.dtype != DType::kBf16) {
    return absl::InvalidArgumentError(
        absl::StrCat("a GPU computes bf16, not ", NameOf(choice.cpu.dtype)));
  }
  const absl::StatusOr<void*> library = LoadLibrary(choice.plugin);
  if (!library.ok()) return library.status();
  const absl::StatusOr<const Plugin*> found = FindPlugin(*library);
  if (!found.ok()) return found.status();
  const Plugin* const plugin = *found;
  std::unique_ptr<Backend> backend;
  std::string error;
  const int code = plugin->create(choice.gpu, backend, error);
  if (code != 0) return absl::Status(static_cast<absl::StatusCode>(code), error);
  if (choice.accept) {
    const absl::Status accepted = choice.accept(*backend);
    if (!accepted.ok()) return accepted;
  }
  return backend;
}

}  // namespace

absl::Status CheckDevice(std::string_view device) {
  if (device == "auto" || device == "cpu") return absl::OkStatus();
  return ParseGpu(device).status();
}

absl::StatusOr<OpenedBackend> OpenBackend(const BackendChoice& choice) {
  OpenedBackend opened;
  if (choice.device != "cpu") {
    const bool automatic = choice.device == "auto";
    const absl::StatusOr<int> index = automatic ? 0 : ParseGpu(choice.device);
    if (!index.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--device: ", index.status().message()));
    }
    BackendChoice gpu = choice;
    gpu.gpu.device = *index;
    absl::StatusOr<std::unique_ptr<Backend>> backend = OpenGpu(gpu);
    if (backend.ok()) {
      opened.backend = *std::move(backend);
      opened.on_gpu = true;
      return opened;
    }
    if (!automatic) {
      return absl::Status(backend.status().code(), absl::StrCat("--device=", choice.device, ": ",
                                                                backend.status().message()));
    }
    opened.fallback = std::string(backend.status().message());
  }
  absl::StatusOr<std::unique_ptr<Backend>> cpu = CreateCpuBackend(choice.cpu);
  if (!cpu.ok()) return cpu.status();
  opened.backend = *std::move(cpu);
  return opened;
}

}  // namespace kvasir
