#include "engine/backend/rope_table.h"

#include <cmath>

#include "engine/check.h"

namespace kvasir {
namespace {

constexpr int kUsualPositions = 262144;  // up to here the table grows without moving

}  // namespace

RopeTable::RopeTable(double theta, int head_dim) : half_(head_dim / 2) {
  KVASIR_CHECK(theta > 0 && head_dim > 0 && head_dim % 2 == 0);
  for (int i = 0; i < half_; ++i) frequency_.push_back(std::pow(theta, -2.0 * i / head_dim));
  for (int b = 0; b < kFine; ++b) {
    for (const double f : frequency_) fine_.push_back({std::cos(b * f), std::sin(b * f)});
  }
  coarse_.reserve(size_t(kUsualPositions / kFine) * half_);
  AppendCoarse();
}

void RopeTable::AppendCoarse() {
  const double first = double(coarse_.size()) / half_ * kFine;
  for (const double f : frequency_) coarse_.push_back({std::cos(first * f), std::sin(first * f)});
}

const std::vector<RopeTable::Angle>& RopeTable::CoarseUpTo(int positions) {
  const size_t rows = (size_t(positions) + kFine - 1) / kFine;
  while (coarse_.size() < rows * half_) AppendCoarse();
  return coarse_;
}

void RopeTable::Fill(const int* positions, int count, float* cos, float* sin) {
  for (int t = 0; t < count; ++t, cos += half_, sin += half_) {
    const size_t a = size_t(positions[t] / kFine) * half_;
    while (coarse_.size() <= a) AppendCoarse();
    const Angle* coarse = &coarse_[a];
    const Angle* fine = &fine_[size_t(positions[t] % kFine) * half_];
    for (int i = 0; i < half_; ++i) {
      cos[i] = float(coarse[i].cos * fine[i].cos - coarse[i].sin * fine[i].sin);
      sin[i] = float(coarse[i].sin * fine[i].cos + coarse[i].cos * fine[i].sin);
    }
  }
}

}  // namespace kvasir
