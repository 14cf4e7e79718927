#include "engine/schedule/step_pace.h"

#include <algorithm>

namespace kvasir {

void StepPace::Record(int rows, double seconds) {
  for (double* sum : {&weight_, &rows_, &seconds_, &rows_rows_, &rows_seconds_}) *sum *= kMemory;
  weight_ += 1;
  rows_ += rows;
  seconds_ += seconds;
  rows_rows_ += double(rows) * rows;
  rows_seconds_ += rows * seconds;
}

double StepPace::FittingRows(int decodes) const {
  const double spread = weight_ * rows_rows_ - rows_ * rows_;  // of the rows, times weight^2
  const double slope = weight_ * rows_seconds_ - rows_ * seconds_;
  if (spread <= 1e-6 * rows_ * rows_ || slope <= 0) return 0;
  const double per_row = slope / spread;
  const double base = std::max(0.0, (seconds_ - per_row * rows_) / weight_);
  return (kStretch - 1) * (base / per_row + decodes);
}

int StepPace::PromptRows(int decodes) {
  const double rows = std::min<double>(FittingRows(decodes), 2 * allowed_);
  allowed_ = std::max(kLeastPromptRows, static_cast<int>(rows));
  return ++asked_ % 4 == 0 ? allowed_ / 2 : allowed_;
}

}  // namespace kvasir
