#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/batch/assign.h"
#include "cuda/batch/intervals.h"
#include "cuda/batch/layers.h"
#include "cuda/batch/points.h"
#include "math/compensated_sum.h"

namespace wkmeans::cuda {

// What decides how much memory one problem takes.
struct TeamShape {
  int n_items;
  int k;
  int n_lanes;
  bool quartic;
  bool pinned;

  WKM_HD int most_points() const { return n_items + (pinned ? 1 : 0); }
};

// Deals out one team's memory: shared while that lasts, then global. Without memory it counts.
class TeamCarver {
public:
  WKM_HD TeamCarver(std::byte* shared, std::size_t shared_bytes, std::byte* global)
      : shared_(shared), shared_bytes_(shared_bytes), global_(global) {}

  template <class Value>
  WKM_HD Value* take(int count) {
    return reinterpret_cast<Value*>(take_bytes(rounded(sizeof(Value), count)));
  }

  WKM_HD std::size_t shared_used() const { return shared_used_; }
  WKM_HD std::size_t global_used() const { return global_used_; }

  static WKM_HD std::size_t rounded(std::size_t size, int count) {
    constexpr std::size_t kAlignment = 16;
    return (size * static_cast<std::size_t>(count) + kAlignment - 1) / kAlignment * kAlignment;
  }

  WKM_HD std::byte* take_bytes(std::size_t n_bytes) {
    if (shared_used_ + n_bytes <= shared_bytes_) return next(shared_, n_bytes, shared_used_);
    return next(global_, n_bytes, global_used_);
  }

private:
  static WKM_HD std::byte* next(std::byte* memory, std::size_t n_bytes, std::size_t& used) {
    const std::size_t offset = used;
    used += n_bytes;
    return memory ? memory + offset : nullptr;
  }

  std::byte* shared_;
  std::size_t shared_bytes_;
  std::byte* global_;
  std::size_t shared_used_ = 0;
  std::size_t global_used_ = 0;
};

// One team's memory, the most often used first. What is never used at once shares a place.
template <class Moments, class Placement>
class TeamScratch {
public:
  using Intervals = TeamIntervals<Moments, Placement>;

  WKM_HD TeamScratch(const TeamShape& shape, TeamCarver& carver) {
    const int n = shape.most_points();
    state = carver.take<TeamState>(1);
    centroids = carver.take<double>(shape.k);
    thresholds = carver.take<double>(shape.k);
    ends = carver.take<std::uint16_t>(shape.k);
    std::byte* const of_lanes = carver.take_bytes(lane_bytes(shape));
    counts = reinterpret_cast<int*>(of_lanes);
    sums = reinterpret_cast<double*>(of_lanes);
    compensated = reinterpret_cast<CompensatedSum*>(of_lanes);
    hidden = reinterpret_cast<TeamHidden*>(of_lanes);
    moments = reinterpret_cast<Moments*>(of_lanes);
    place_rows(n, carver.take_bytes(larger_of(row_bytes(n), building_bytes(n))));
    rows.heads = reinterpret_cast<TeamCut*>(of_lanes);
    rows.tails = rows.heads + shape.n_lanes;
    points.weight = carver.take<double>(n);
    points.importance = carver.take<double>(n);
    points.quartic_importance = shape.quartic ? carver.take<double>(n) : nullptr;
    points.size = 0;
    std::byte* const large = carver.take_bytes(larger_of(half_bytes(n), sorting_bytes(n)));
    halves = reinterpret_cast<double*>(large);
    TeamCarver sorting_carver(large, sorting_bytes(n), nullptr);
    sorting.weight = sorting_carver.take<double>(n);
    sorting.order = sorting_carver.take<std::uint16_t>(n);
    rows.columns = carver.take<std::uint16_t>((shape.k - 1) * (n + 1));
  }

  TeamState* state;
  double* centroids;
  double* thresholds;
  std::uint16_t* ends;
  // One a lane, or two, of either kind.
  int* counts;
  double* sums;
  CompensatedSum* compensated;
  TeamHidden* hidden;
  Moments* moments;
  TeamLayerRows rows;
  typename Intervals::Building building;
  TeamPoints points;
  TeamSorting sorting;
  double* halves;

private:
  static WKM_HD std::size_t larger_of(std::size_t a, std::size_t b) { return a > b ? a : b; }

  static WKM_HD std::size_t lane_bytes(const TeamShape& shape) {
    const std::size_t moments =
        TeamCarver::rounded(sizeof(Moments), larger(shape.n_lanes, shape.k));
    const std::size_t cuts = TeamCarver::rounded(sizeof(TeamCut), 2 * shape.n_lanes);
    return larger_of(moments, cuts);
  }
  static WKM_HD std::size_t row_bytes(int n) {
    return 2 * TeamCarver::rounded(sizeof(double), n + 1) +
           3 * TeamCarver::rounded(sizeof(std::uint16_t), n + 1);
  }
  static WKM_HD std::size_t building_bytes(int n) {
    return 3 * TeamCarver::rounded(sizeof(Moments), blocks_of(n));
  }
  static WKM_HD std::size_t half_bytes(int n) {
    return TeamCarver::rounded(sizeof(double), levels_of(n) * Intervals::Stored::kCount * n);
  }
  static WKM_HD std::size_t sorting_bytes(int n) {
    return TeamCarver::rounded(sizeof(double), n) + TeamCarver::rounded(sizeof(std::uint16_t), n);
  }

  WKM_HD void place_rows(int n, std::byte* place) {
    TeamCarver row_carver(place, row_bytes(n), nullptr);
    rows.previous = row_carver.take<double>(n + 1);
    rows.best = row_carver.take<double>(n + 1);
    rows.first_before = row_carver.take<std::uint16_t>(n + 1);
    rows.first = row_carver.take<std::uint16_t>(n + 1);
    rows.last = row_carver.take<std::uint16_t>(n + 1);
    TeamCarver building_carver(place, building_bytes(n), nullptr);
    building.node = building_carver.take<Moments>(blocks_of(n));
    building.before = building_carver.take<Moments>(blocks_of(n));
    building.after = building_carver.take<Moments>(blocks_of(n));
  }
};

}  // namespace wkmeans::cuda
