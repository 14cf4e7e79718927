#ifndef KVASIR_ENGINE_SCHEDULE_STEP_PACE_H_
#define KVASIR_ENGINE_SCHEDULE_STEP_PACE_H_

namespace kvasir {

// How many rows of prompts a step may take without holding up the calls that decode in it: as many
// as make the step kStretch times as long as one that only decodes.
//
// Feedback on what the last steps took: a step that decodes alone tells the usual time, one with
// rows of prompts what each of these added. That is no straight line (rows are free while memory is
// the limit, and a deep prompt's keys are read however few its rows), so the number of rows moves
// towards what would just fit rather than jumping there. Of the steps that decode, every kPause-th
// takes no rows of prompts and measures the usual time anew.
//
// Bits do not depend on it (invariant I1): any cut of the work gives the same.
class StepPace {
 public:
  static constexpr double kStretch = 1.5;
  static constexpr double kGrowth = 1.5;  // of the rows, from one step to the next, at most
  // Of the usual time, from one measurement to the next: one late step is not a new habit.
  static constexpr double kUsualGrowth = 1.15;
  static constexpr int kPause = 8;  // steps
  // So many rows are allowed however long they take, so that prompts advance.
  static constexpr int kLeastPromptRows = 4;

  // A step of `decodes` rows that decode and `prompt_rows` others took `seconds`.
  void Record(int decodes, int prompt_rows, double seconds);
  // For a step in which others decode.
  int PromptRows();

 private:
  // What a step takes that only decodes: between as long as the last one and in proportion to it.
  // REQUIRES: usual_rows_ > 0.
  double Usual(int decodes) const;

  double usual_ = 0;    // seconds of a step of usual_rows_, all decoding
  int usual_rows_ = 0;  // 0: not known yet
  double per_row_ = 0;  // seconds that a row of a prompt adds
  double allowed_ = kLeastPromptRows;
  int asked_ = 0;  // times, modulo kPause
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_SCHEDULE_STEP_PACE_H_
