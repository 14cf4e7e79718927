#include "tests/engine/backend/cuda/step_traffic_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace kvasir::cuda {
namespace {

constexpr double kMega = 1e-6;
constexpr int kManySequences = 64;
constexpr int kLongContext = 4096;

// --- goals -------------------------------------------------------------------------------------

constexpr double kMostOfLeast = 1.05;  // distinct bytes of a decode step
constexpr double kFullLoads = 0.95;
constexpr uint64_t kLaunchesALayer = 8;
constexpr double kFitError = 0.005;

class Goals {
 public:
  void Expect(bool met, const std::string& what) {
    std::printf("- %s: %s\n", what.c_str(), met ? "met" : "MISSED");
    met_ = met_ && met;
  }
  bool met() const { return met_; }

 private:
  bool met_ = true;
};

std::string Format(const char* format, double value) {
  char text[128];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

// --- steps -------------------------------------------------------------------------------------

struct Step {
  std::string name;
  StepShape shape;
  Traffic traffic;

  double least() const { return double(LeastBytes(Qwen3Of4B(kLayers), shape)); }
  double of_least() const { return DistinctBytes(traffic) / least(); }
  double full_loads() const {
    const simt::KernelCounts sum = Sum(traffic);
    return double(sum.full_load_bytes) / double(sum.load_bytes);
  }
};

// 1,536
std::string Thousands(int n) {
  if (n < 1000) return std::to_string(n);
  std::string low = std::to_string(n % 1000);
  low.insert(0, 3 - low.size(), '0');
  return std::to_string(n / 1000) + "," + low;
}

// The products as the library is said to do them: each matrix once, 2 M N K operations. `step`:
// with our own, whose kernels are left out; with SiluMul as the kernel of its own that it then is.
Traffic WithNominalProducts(const Traffic& step, int rows) {
  const ModelConfig config = Qwen3Of4B(kLayers);
  Traffic nominal = step;
  std::erase_if(nominal, [](const auto& kernel) {
    return kernel.first.find("StreamKernel") != std::string::npos ||
           kernel.first.find("TileKernel") != std::string::npos;
  });
  simt::KernelCounts& products = nominal["products, nominal"];
  const auto add = [&](int64_t n, int64_t k, int times) {
    products.launches += times;
    products.distinct_load_sectors += times * (int64_t{rows} * k + n * k) * 2 / simt::kSectorBytes;
    products.distinct_store_sectors += times * int64_t{rows} * n * 4 / simt::kSectorBytes;
    products.tensor_flops += times * 2 * rows * n * k;
  };
  const int64_t query = int64_t{config.heads} * config.head_dim;
  add(config.qkv_rows(), config.hidden, kLayers);
  add(config.hidden, query, kLayers);
  add(int64_t{2} * config.ffn, config.hidden, kLayers);
  add(config.hidden, config.ffn, kLayers);
  add(config.vocab, config.hidden, 1);
  simt::KernelCounts& silu = nominal["SiluMulKernel, nominal"];
  silu.launches = kLayers;
  silu.distinct_load_sectors = int64_t{kLayers} * rows * 2 * config.ffn * 4 / simt::kSectorBytes;
  silu.distinct_store_sectors = int64_t{kLayers} * rows * config.ffn * 2 / simt::kSectorBytes;
  for (simt::KernelCounts* counts : {&products, &silu}) {
    counts->load_sectors = counts->distinct_load_sectors;
    counts->store_sectors = counts->distinct_store_sectors;
  }
  return nominal;
}

void PrintSteps(const std::vector<Step>& steps) {
  std::printf(
      "| step | distinct, read and written | of the least | requested | full 16-byte loads | bank "
      "conflicts | launches |\n|---|---:|---:|---:|---:|---:|---:|\n");
  for (const Step& step : steps) {
    const simt::KernelCounts sum = Sum(step.traffic);
    std::printf(
        "| %s | %s MB | %.4f x | %.3f x | %.1f %% | %llu | %llu |\n", step.name.c_str(),
        Thousands(static_cast<int>(std::lround(DistinctBytes(step.traffic) * kMega))).c_str(),
        step.of_least(), RequestedBytes(step.traffic) / step.least(), 100 * step.full_loads(),
        static_cast<unsigned long long>(sum.bank_conflicts),
        static_cast<unsigned long long>(sum.launches));
  }
}

// --- what a device allows ------------------------------------------------------------------------

struct DataSheet {
  const char* name;
  double bytes;  // a second, of memory
  double flops;  // a second, dense bf16
};
constexpr DataSheet kDevices[] = {{"H100 SXM", 3.35e12, 989e12},
                                  {"H200 SXM", 4.8e12, 989e12},
                                  {"A100 SXM 80 GB", 2.039e12, 312e12},
                                  {"RTX 4090", 1.008e12, 165e12}};
constexpr double kPartOfPeak = 0.6;  // of a prompt's operations
constexpr double kL2OfMemory = 2;    // L2's bandwidth: assumed, no data sheet has it

// Two operations a weight and token, the embedding's left out; four a query head, element and key
// that a token sees.
double PromptFlops(int tokens) {
  const ModelConfig config = Qwen3Of4B(kLayers);
  const double weights = double(ParameterCount(config)) - double(config.vocab) * config.hidden;
  const double pairs = 0.5 * tokens * (tokens + 1.0);
  return 2 * weights * tokens + 4.0 * config.heads * config.head_dim * config.layers * pairs;
}

void PrintPredictions(const Step& single, const Step& many) {
  std::printf(
      "| device | TB/s | dense bf16 TFLOP/s | 1 sequence: ms a step, tokens/s | %d x %s: ms, "
      "tokens/s | prompt of %s: ms |\n|---|---:|---:|---:|---:|---:|\n",
      kManySequences, Thousands(kLongContext).c_str(), Thousands(kLongContext).c_str());
  for (const DataSheet& device : kDevices) {
    const double one = DistinctBytes(single.traffic) / device.bytes;
    const double all = DistinctBytes(many.traffic) / device.bytes;
    std::printf("| %s | %.3f | %.0f | %.2f, %.0f | %.1f, %s | %.0f |\n", device.name,
                device.bytes * 1e-12, device.flops * 1e-12, one * 1e3, 1 / one, all * 1e3,
                Thousands(static_cast<int>(std::lround(kManySequences / all))).c_str(),
                PromptFlops(kLongContext) / (kPartOfPeak * device.flops) * 1e3);
  }
}

// Own products, by memory and by L2, beside nominal ones.
void PrintDeterministic(const std::vector<std::pair<const Step*, Traffic>>& steps) {
  std::printf("| device |");
  for (const auto& [step, nominal] : steps) {
    std::printf(" %s: ms nominal, own by memory, by L2 |", step->name.c_str());
  }
  std::printf("\n|---|");
  for (size_t i = 0; i < steps.size(); ++i) std::printf("---:|");
  std::printf("\n");
  for (const DataSheet& device : kDevices) {
    std::printf("| %s |", device.name);
    for (const auto& [step, nominal] : steps) {
      std::printf(" %.1f, %.1f, %.1f |", DistinctBytes(nominal) / device.bytes * 1e3,
                  DistinctBytes(step->traffic) / device.bytes * 1e3,
                  RequestedBytes(step->traffic) / (kL2OfMemory * device.bytes) * 1e3);
    }
    std::printf("\n");
  }
}

void PrintRow(const char* name, const simt::KernelCounts& c) {
  const double bytes = simt::kSectorBytes * kMega;
  std::printf("| %s | %llu | %.2f | %.2f | %.2f | %.1f %% | %llu | %.3f |\n", name,
              static_cast<unsigned long long>(c.launches), double(c.distinct_load_sectors) * bytes,
              double(c.load_sectors) * bytes, double(c.distinct_store_sectors) * bytes,
              c.load_bytes > 0 ? 100.0 * double(c.full_load_bytes) / double(c.load_bytes) : 0.0,
              static_cast<unsigned long long>(c.bank_conflicts), double(c.tensor_flops) * 1e-9);
}

void PrintTitle(const std::string& title) { std::printf("\n### %s\n\n", title.c_str()); }

// How far a line through two of them is from what was counted, of the distinct and of the requested
// bytes.
double FitError(const Traffic& line, const Traffic& counted) {
  const auto error = [](double a, double b) { return std::abs(a - b) / b; };
  return std::max(error(DistinctBytes(line), DistinctBytes(counted)),
                  error(RequestedBytes(line), RequestedBytes(counted)));
}

}  // namespace

Traffic CountWholeStep(const StepShape& shape) {
  return ScaleLayers(CountStep(Qwen3Of4B(1), shape), CountStep(Qwen3Of4B(2), shape), kLayers);
}

double DistinctBytes(const Traffic& traffic) {
  const simt::KernelCounts sum = Sum(traffic);
  return double(sum.distinct_load_sectors + sum.distinct_store_sectors) * simt::kSectorBytes;
}

double RequestedBytes(const Traffic& traffic) {
  const simt::KernelCounts sum = Sum(traffic);
  return double(sum.load_sectors + sum.store_sectors) * simt::kSectorBytes;
}

void PrintKernels(const Traffic& traffic) {
  std::printf(
      "| kernel | launches | distinct MB read | requested MB read | distinct MB written | full "
      "16-byte loads | bank conflicts | tensor GFLOP |\n"
      "|---|---:|---:|---:|---:|---:|---:|---:|\n");
  for (const auto& [name, counts] : traffic) {
    const size_t scope = name.rfind("::");
    PrintRow(name.substr(scope == std::string::npos ? 0 : scope + 2).c_str(), counts);
  }
  PrintRow("all", Sum(traffic));
}

bool PrintAll() {
  const ModelConfig config = Qwen3Of4B(kLayers);
  const StepShape short_one = {.batch = 1};
  const StepShape short_many = {.batch = kManySequences};
  const StepShape prompt_shape = {.batch = 1, .rows = 512, .context = 512};
  const Traffic one_layer = CountStep(Qwen3Of4B(1), short_one);
  const Traffic two_layers = CountStep(Qwen3Of4B(2), short_one);
  const Step single = {"1 sequence, no context", short_one,
                       ScaleLayers(one_layer, two_layers, kLayers)};
  const Traffic many_short = CountWholeStep(short_many);
  const Step prompt = {"prompt of 512", prompt_shape, CountWholeStep(prompt_shape)};

  const auto at = [&](const Traffic& base, int batch, int context) {
    const StepShape shape = {.batch = batch, .rows = 1, .context = context};
    const std::string name = std::to_string(batch) + (batch == 1 ? " sequence, " : " sequences, ") +
                             Thousands(context) + " of context";
    return Step{name, shape, WithAttention(base, CountAttention(config, shape), kLayers)};
  };
  const Step single_long = at(single.traffic, 1, kLongContext);
  const Step first = at(many_short, kManySequences, 512);
  const Step middle = at(many_short, kManySequences, 1024);
  const Step last = at(many_short, kManySequences, 1536);
  const Step many = at(many_short, kManySequences, kLongContext);
  const auto line_at = [&](int context) {
    return Extrapolate(first.traffic, first.shape.context, last.traffic, last.shape.context,
                       context);
  };
  const Step fitted = {std::to_string(kManySequences) + " sequences, " + Thousands(kLongContext) +
                           ": by a line through 512 and 1,536",
                       many.shape, line_at(kLongContext)};

  PrintTitle("Bytes of a step");
  const std::vector<Step> steps = {single, single_long, first, middle, last, many, fitted, prompt};
  PrintSteps(steps);
  PrintTitle("Goals");
  Goals goals;
  for (const Step* step : {&single, &single_long, &many, &fitted}) {
    goals.Expect(
        step->of_least() <= kMostOfLeast,
        step->name + ": at most 1.05 of the least bytes" + Format(", %.4f", step->of_least()));
  }
  for (const Step& step : steps) {
    goals.Expect(step.full_loads() >= kFullLoads, step.name +
                                                      ": at least 95 % of the loads are full" +
                                                      Format(", %.1f %%", 100 * step.full_loads()));
    goals.Expect(Sum(step.traffic).bank_conflicts == 0, step.name + ": no bank conflicts");
  }
  goals.Expect(Sum(two_layers).launches - Sum(one_layer).launches <= kLaunchesALayer,
               "at most 8 launches a layer");
  for (const Step* step : {&middle, &many}) {
    const double error = FitError(line_at(step->shape.context), step->traffic);
    goals.Expect(error <= kFitError, "the line is within 0.5 % of what is counted at " +
                                         Thousands(step->shape.context) +
                                         Format(", %.2f %%", 100 * error));
  }
  PrintTitle("Predicted");
  PrintPredictions(single, many);
  PrintTitle("What --deterministic costs");
  PrintDeterministic({{&many, WithNominalProducts(many.traffic, kManySequences)},
                      {&prompt, WithNominalProducts(prompt.traffic, prompt_shape.rows)}});
  for (const Step* step : {&single_long, &many, &prompt}) {
    PrintTitle("Kernels: " + step->name);
    PrintKernels(step->traffic);
  }
  return goals.met();
}

}  // namespace kvasir::cuda
