#include "engine/backend/cpu/kernel_choice.h"

#include "absl/status/status.h"

namespace kvasir {
namespace {

struct KernelSet {
  std::string_view name;
  std::string_view needs;
  bool (*available)();
  const Kernels* (*kernels)(DType weight);
  bool automatic = true;
};

bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
bool HasAvx512Bf16() { return HasAvx512() && __builtin_cpu_supports("avx512bf16"); }

constexpr KernelSet kAvx2 = {"avx2", "AVX2 and FMA", HasAvx2, Avx2Kernels};
constexpr KernelSet kAvx512 = {"avx512", "AVX-512 F, BW, VL and DQ", HasAvx512, Avx512Kernels};
constexpr KernelSet kAvx512Bf16 = {"avx512bf16", "AVX-512 BF16", HasAvx512Bf16, Avx512Bf16Kernels};
constexpr KernelSet kAmx = {"amx", "AMX-BF16", [] { return HasAvx512Bf16() && HasAmx(); },
                            AmxKernels, false};

// Preference by vendor. AMD (Zen 4, Zen 5) runs vdpbf16ps at twice the products of an f32 fma;
// Intel's cores with it (measured on Emerald Rapids) at half, so there widening wins. AMX has never
// run on a CPU that has it: only who asks for it by name gets it.
constexpr const KernelSet* kForAmd[] = {&kAvx512Bf16, &kAvx512, &kAvx2, &kAmx};
constexpr const KernelSet* kForOthers[] = {&kAvx512, &kAvx512Bf16, &kAvx2, &kAmx};

const KernelSet* const (&Preference())[4] {
  __builtin_cpu_init();
  return __builtin_cpu_is("amd") ? kForAmd : kForOthers;
}

}  // namespace

absl::StatusOr<const Kernels*> ChooseKernels(std::string_view name, DType dtype) {
  for (const KernelSet* set : Preference()) {
    const Kernels* kernels = set->kernels(dtype);
    if (name == "auto") {
      if (kernels != nullptr && set->automatic && set->available()) return kernels;
      continue;
    }
    if (name != set->name) continue;
    if (kernels == nullptr) {
      return absl::InvalidArgumentError("CPU kernel '" + std::string(name) +
                                        "' does not multiply " + NameOf(dtype) + " weights");
    }
    if (!set->available()) {
      return absl::FailedPreconditionError("CPU kernel '" + std::string(name) + "' needs " +
                                           std::string(set->needs) + ", which this CPU lacks");
    }
    return kernels;
  }
  if (name == "auto") {
    return absl::FailedPreconditionError(
        "this CPU lacks AVX2 and FMA, the least that Kvasir needs");
  }
  return absl::InvalidArgumentError("CPU kernel '" + std::string(name) +
                                    "' is none of auto, amx, avx512bf16, avx512, avx2");
}

std::vector<std::string> AvailableKernels(DType dtype) {
  std::vector<std::string> names;
  for (const KernelSet* set : Preference()) {
    if (set->kernels(dtype) != nullptr && set->available()) names.emplace_back(set->name);
  }
  return names;
}

}  // namespace kvasir
