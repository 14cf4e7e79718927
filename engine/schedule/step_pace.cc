#include "engine/schedule/step_pace.h"

#include <algorithm>

namespace kvasir {

double StepPace::Usual(int decodes) const {
  const double ratio = double(decodes) / usual_rows_;
  return std::clamp(usual_ + per_row_ * (decodes - usual_rows_), usual_ * std::min(1.0, ratio),
                    usual_ * std::max(1.0, ratio));
}

void StepPace::Record(int decodes, int prompt_rows, double seconds) {
  if (decodes == 0) return;
  if (prompt_rows == 0) {
    if (usual_rows_ == 0) {
      usual_ = seconds;
    } else {
      const double before = Usual(decodes);
      const double most = std::max(before, usual_) * kUsualGrowth;
      usual_ = std::min((before + seconds) / 2, most);
    }
    usual_rows_ = decodes;
    return;
  }
  if (usual_rows_ == 0) return;
  const double usual = Usual(decodes);
  const double per_row = std::max(0.0, seconds - usual) / prompt_rows;
  per_row_ = per_row_ == 0 ? per_row : (per_row_ + per_row) / 2;
  const double added = (kStretch - 1) * usual;
  const double most = std::max(allowed_, kGrowth * prompt_rows);  // no further than was tried
  allowed_ = added < most * per_row_ ? added / per_row_ : most;
  allowed_ = std::clamp<double>(allowed_, kLeastPromptRows, 1 << 20);
}

int StepPace::PromptRows() {
  asked_ = (asked_ + 1) % kPause;
  if (usual_rows_ == 0 || asked_ == 0) return 0;
  return static_cast<int>(allowed_);
}

}  // namespace kvasir
