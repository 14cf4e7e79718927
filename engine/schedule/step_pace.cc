#include "engine/schedule/step_pace.h"

#include <algorithm>

namespace kvasir {

void StepPace::Record(int decodes, int prompt_rows, double seconds) {
  if (decodes == 0) return;
  if (prompt_rows == 0) {
    const double before = usual_rows_ > 0 ? Usual(decodes) : seconds;
    usual_ = std::min((before + seconds) / 2, before * kUsualGrowth);
    usual_rows_ = decodes;
    return;
  }
  if (usual_rows_ == 0) return;
  const double usual = Usual(decodes);
  const double per_row = std::max(0.0, seconds - usual) / prompt_rows;
  per_row_ = per_row_ == 0 ? per_row : (per_row_ + per_row) / 2;
  const double added = (kStretch - 1) * usual;
  const double most = kGrowth * allowed_;
  allowed_ = added < most * per_row_ ? added / per_row_ : most;
  allowed_ = std::clamp<double>(allowed_, kLeastPromptRows, 1 << 20);
}

int StepPace::PromptRows() {
  if (usual_rows_ == 0 || ++asked_ % kPause == 0) return 0;
  return static_cast<int>(allowed_);
}

}  // namespace kvasir
