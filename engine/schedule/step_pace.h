#ifndef KVASIR_ENGINE_SCHEDULE_STEP_PACE_H_
#define KVASIR_ENGINE_SCHEDULE_STEP_PACE_H_

namespace kvasir {

// How many rows of prompts a step may take without holding up the calls that decode in it: at most
// as many as make the step kStretch times as long as it would be without them.
//
// A step's time is taken as base + per_row * rows, a line fitted to the steps so far by least
// squares, of which old ones count ever less. Bits do not depend on it (invariant I1): any cut of
// the work gives the same.
class StepPace {
 public:
  static constexpr double kStretch = 1.75;
  // So many rows are allowed whatever the fit says, so that prompts advance and the fit learns.
  static constexpr int kLeastPromptRows = 16;

  void Record(int rows, double seconds);
  // REQUIRES: decodes > 0.
  int PromptRows(int decodes) const;

 private:
  // Sums over past steps, each weighted by kMemory to the power of its age in steps.
  static constexpr double kMemory = 0.98;
  double weight_ = 0, rows_ = 0, seconds_ = 0, rows_rows_ = 0, rows_seconds_ = 0;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SCHEDULE_STEP_PACE_H_
