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
  static constexpr double kStretch = 1.7;
  // So many rows are allowed whatever the fit says, so that prompts advance and the fit learns.
  static constexpr int kLeastPromptRows = 16;

  void Record(int rows, double seconds);
  // At most twice as many as the time before: a fit to few steps may be far off. Every fourth time
  // half as many as would fit: steps that are all of one size would tell nothing of what a row
  // costs. REQUIRES: decodes > 0.
  int PromptRows(int decodes);

 private:
  // As many as the fit allows.
  double FittingRows(int decodes) const;

  // Sums over past steps, each weighted by kMemory to the power of its age in steps.
  static constexpr double kMemory = 0.95;
  double weight_ = 0, rows_ = 0, seconds_ = 0, rows_rows_ = 0, rows_seconds_ = 0;
  int allowed_ = kLeastPromptRows;
  int asked_ = 0;  // times
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SCHEDULE_STEP_PACE_H_
