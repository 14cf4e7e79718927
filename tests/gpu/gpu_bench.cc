// How fast a step is on the GPU at hand, for a model with random weights: one JSON object a line,
// first what was measured on, then a line for every kind of step. tests/gpu/report.py makes a table
// of them.
//
// The service's own limits hold, by default: a prompt longer than its largest step is several
// steps, of which all times are the sum.
//
//   step_ms     a step as the engine does it: the next one is enqueued, then the tokens of the one
//               before are waited for. Wall time.
//   alone_ms    a step that is waited for before the next is enqueued
//   enqueue_ms  the host's part of step_ms until a step is enqueued
//   host_gap    the part of the time in which the device may have waited for the host, at most: the
//               enqueueing of steps before which the one before turned out to be done
//
// Times are medians over the repetitions. Rates are of step_ms, by what a step must do at least:
// bytes of every weight and of all keys and values once, operations of products and attention.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/gpu/bench_model.h"

namespace kvasir {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kRoundSeconds = 0.08;  // of equal steps that are timed together
constexpr int kMinSteps = 3;
constexpr int kMaxSteps = 30;
constexpr double kFigureSeconds = 5;  // then there are no more repetitions

struct Arguments {
  std::string shape = "4b";
  BackendChoice choice;
  std::vector<int> batches = {1, 2, 4, 8, 16, 32, 64, 128, 256};
  std::vector<int> contexts = {0, 4096, 16384, 32768};
  std::vector<int> prompts = {512, 2048, 4096, 8192};
  std::vector<int> prompt_depths = {0, 16384};
  int repetitions = 5;
};

// Numbers from `least` on, a comma between each two.
bool ParseNumbers(std::string_view text, int least, std::vector<int>& numbers) {
  numbers.clear();
  while (!text.empty()) {
    const std::string_view number = text.substr(0, text.find(','));
    int value = -1;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc() || end != number.data() + number.size() || value < least) return false;
    numbers.push_back(value);
    text.remove_prefix(std::min(text.size(), number.size() + 1));
  }
  return true;
}

bool ParseOne(std::string_view argument, Arguments& arguments) {
  if (argument == "--deterministic") {
    arguments.choice.gpu.deterministic = true;
    return true;
  }
  const size_t equals = argument.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view name = argument.substr(0, equals);
  const std::string_view value = argument.substr(equals + 1);
  for (const auto& [text, word] :
       {std::pair("--shape", &arguments.shape), std::pair("--device", &arguments.choice.device),
        std::pair("--plugin", &arguments.choice.plugin)}) {
    if (name == text) {
      *word = value;
      return true;
    }
  }
  std::vector<int> repetitions;
  for (const auto& [text, least, numbers] :
       {std::tuple("--batches", 1, &arguments.batches),
        std::tuple("--contexts", 0, &arguments.contexts),
        std::tuple("--prompts", 1, &arguments.prompts),
        std::tuple("--prompt-depths", 0, &arguments.prompt_depths),
        std::tuple("--repetitions", 1, &repetitions)}) {
    if (name == text && !ParseNumbers(value, least, *numbers)) return false;
    if (name == text && numbers != &repetitions) return true;
  }
  if (repetitions.size() != 1) return false;
  arguments.repetitions = repetitions[0];
  return true;
}

bool Parse(int argc, char** argv, Arguments& arguments) {
  arguments.choice.device = "cuda";
  for (int i = 1; i < argc; ++i) {
    if (ParseOne(argv[i], arguments)) continue;
    std::fprintf(stderr,
                 "gpu_bench: cannot read %s\n"
                 "gpu_bench [--shape=4b|0.6b|tiny] [--device=cuda[:N]] [--plugin=PATH]\n"
                 "    [--deterministic] [--batches=N,...] [--contexts=N,...] [--prompts=N,...]\n"
                 "    [--prompt-depths=N,...] [--repetitions=N]\n",
                 argv[i]);
    return false;
  }
  return true;
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Milliseconds a step.
struct Timing {
  double step = 0;
  double alone = 0;
  double enqueue = 0;
  double host_gap = 0;
  int steps = 0;
  int repetitions = 0;
};

double StepByStep(BenchModel& model, int steps) {
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < steps * model.pieces(); ++i) {
    model.Enqueue();
    model.Wait();
  }
  return MillisecondsSince(start) / steps;
}

struct Ahead {
  double step = 0;     // milliseconds
  double enqueue = 0;  // of them
  double host_gap = 0;
};
Ahead OneAhead(BenchModel& model, int steps) {
  // Waiting for what is done takes less.
  constexpr double kNoWait = 0.005;
  Ahead ahead;
  model.Enqueue();
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < steps * model.pieces(); ++i) {
    const Clock::time_point begin = Clock::now();
    model.Enqueue();
    const double enqueued = MillisecondsSince(begin);
    model.Wait();
    const double waited = MillisecondsSince(begin) - enqueued;
    ahead.enqueue += enqueued / steps;
    if (waited < kNoWait) ahead.host_gap += enqueued;
  }
  const double all = MillisecondsSince(start);
  model.Wait();
  ahead.step = all / steps;
  ahead.host_gap /= all;
  return ahead;
}

Timing Measure(BenchModel& model, int repetitions) {
  StepByStep(model, 2);
  const double first = StepByStep(model, 1);
  Timing timing;
  timing.steps = std::clamp(static_cast<int>(kRoundSeconds * 1e3 / first), kMinSteps, kMaxSteps);
  std::vector<double> step, alone, enqueue, host_gap;
  const Clock::time_point start = Clock::now();
  while (static_cast<int>(step.size()) < repetitions &&
         (step.empty() || MillisecondsSince(start) < kFigureSeconds * 1e3)) {
    alone.push_back(StepByStep(model, timing.steps));
    const Ahead ahead = OneAhead(model, timing.steps);
    step.push_back(ahead.step);
    enqueue.push_back(ahead.enqueue);
    host_gap.push_back(ahead.host_gap);
  }
  timing.repetitions = static_cast<int>(step.size());
  timing.step = Median(step);
  timing.alone = Median(alone);
  timing.enqueue = Median(enqueue);
  timing.host_gap = Median(host_gap);
  return timing;
}

void PrintFigure(const char* what, const Arguments& arguments, const StepShape& step, bool graphs,
                 const BenchModel& model, const Timing& timing) {
  const StepWork work = model.WorkOf(step);
  const int tokens = step.rows == 1 ? step.sequences : step.num_rows();
  std::printf(
      "{\"what\": \"%s\", \"shape\": \"%s\", \"deterministic\": %s, \"graphs\": %s, "
      "\"batch\": %d, \"depth\": %d, \"rows\": %d, \"step_ms\": %.5g, \"alone_ms\": %.5g, "
      "\"enqueue_ms\": %.5g, \"host_gap\": %.4f, \"tokens_per_second\": %.6g, \"bytes\": %.6g, "
      "\"bytes_per_second\": %.5g, \"flops\": %.6g, \"flops_per_second\": %.5g, \"steps\": %d, "
      "\"repetitions\": %d}\n",
      what, arguments.shape.c_str(), arguments.choice.gpu.deterministic ? "true" : "false",
      graphs ? "true" : "false", step.sequences, step.depth, step.rows, timing.step, timing.alone,
      timing.enqueue, timing.host_gap, tokens / timing.step * 1e3, work.bytes,
      work.bytes / timing.step * 1e3, work.flops, work.flops / timing.step * 1e3, timing.steps,
      timing.repetitions);
  std::fflush(stdout);
}

void PrintModel(const Arguments& arguments, const BenchModel& model) {
  const BenchModel::Start& start = model.start();
  std::printf(
      "{\"what\": \"model\", \"shape\": \"%s\", \"deterministic\": %s, \"device\": \"%s\", "
      "\"numerics\": \"%s\", \"weight_bytes\": %lld, \"workspace_bytes\": %lld, "
      "\"kv_bytes\": %lld, \"load_seconds\": %.3g, \"prepare_seconds\": %.3g}\n",
      arguments.shape.c_str(), arguments.choice.gpu.deterministic ? "true" : "false",
      model.backend().device().c_str(), model.backend().numerics().c_str(),
      static_cast<long long>(start.weight_bytes), static_cast<long long>(start.workspace_bytes),
      static_cast<long long>(start.kv_bytes), start.load_seconds, start.prepare_seconds);
  std::fflush(stdout);
}

struct Figure {
  const char* what;
  StepShape step;
  bool graphs;
};

std::vector<Figure> FiguresOf(const Arguments& arguments) {
  std::vector<Figure> figures;
  for (const int context : arguments.contexts) {
    for (const int batch : arguments.batches) {
      const StepShape step = {.sequences = batch, .depth = context, .rows = 1};
      figures.push_back({"decode", step, true});
      // What recording brings does not depend on the context.
      if (context == arguments.contexts[0]) figures.push_back({"decode", step, false});
    }
  }
  for (const int depth : arguments.prompt_depths) {
    for (const int rows : arguments.prompts) {
      figures.push_back({"prefill", {.sequences = 1, .depth = depth, .rows = rows}, false});
    }
  }
  return figures;
}

int Main(const Arguments& arguments) {
  const std::optional<ModelConfig> config = ShapeNamed(arguments.shape);
  const std::vector<Figure> figures = FiguresOf(arguments);
  if (!config.has_value() || figures.empty()) {
    std::fputs("gpu_bench: no such shape, or nothing to measure\n", stderr);
    return 2;
  }
  std::vector<StepShape> steps;
  steps.reserve(figures.size());
  for (const Figure& figure : figures) steps.push_back(figure.step);
  const absl::StatusOr<std::unique_ptr<BenchModel>> created =
      BenchModel::Create(*config, steps, arguments.choice);
  if (!created.ok()) {
    std::fprintf(stderr, "gpu_bench: %s\n", created.status().ToString().c_str());
    return 1;
  }
  BenchModel& model = **created;
  PrintModel(arguments, model);
  for (const auto& [what, step, graphs] : figures) {
    if (!model.Fits(step)) continue;  // the KV pool, whose bytes have been printed, is too small
    model.Prepare(step);
    model.set_graphs(graphs);
    PrintFigure(what, arguments, step, graphs, model, Measure(model, arguments.repetitions));
  }
  return 0;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  kvasir::Arguments arguments;
  if (!kvasir::Parse(argc, argv, arguments)) return 2;
  return kvasir::Main(arguments);
}
