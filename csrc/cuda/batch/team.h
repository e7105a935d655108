#pragma once

#include <cstdint>

#include "math/platform.h"

// A team is the lanes that solve one problem together, written so that the host can play it:
//   team.size()            how many lanes there are
//   team.phase(work)       work(lane) for every lane, in any order or at once, then a barrier
//   team.lower(at, value)  *at = min(*at, value), whichever lanes meet there
//
// Lanes share memory alone: what one phase leaves for the next lies in scratch. In a phase, no lane
// touches what another writes. Between phases every lane runs the same code on the same values:
// what is read there, the next phase does not write, as fast lanes enter it while slow ones still
// read.
namespace wkmeans::cuda {

WKM_HD int at_least_one(int value) { return value > 1 ? value : 1; }
WKM_HD int smaller(int a, int b) { return a < b ? a : b; }
WKM_HD int larger(int a, int b) { return a > b ? a : b; }

// task(i) for each i below `count`, lanes taking turns; then a barrier.
template <class Team, class Task>
WKM_HD void for_each(Team& team, int count, Task&& task) {
  team.phase([&](int lane) {
    for (int i = lane; i < count; i += team.size()) task(i);
  });
}

// Combines values[g * group_size ...] into values[g * group_size] for every group g, always in the
// same order: combine(value, other) takes `other` in.
template <class Team, class Value, class Combine>
WKM_HD void reduce_groups(Team& team, Value* values, int group_size, int n_groups,
                          Combine&& combine) {
  constexpr int kAtOnce = 8;
  for (int width = group_size; width > 1;) {
    const int next = (width + kAtOnce - 1) / kAtOnce;
    for_each(team, n_groups * next, [&](int task) {
      const int first = task / next * group_size;
      Value* const group = values + first;
      const int slot = task % next;
      Value value = group[slot];
      for (int i = slot + next; i < width; i += next) combine(value, group[i]);
      group[slot] = value;
    });
    width = next;
  }
}

// emit(i, rank) for each i below `count` that keep(i) names, `rank` counting those before it;
// returns how many there are. `counts` holds twice as many as there are lanes.
template <class Team, class Keep, class Emit>
WKM_HD int compact(Team& team, int count, int* counts, Keep&& keep, Emit&& emit) {
  const int n_lanes = team.size();
  const int chunk = (count + n_lanes - 1) / n_lanes;
  team.phase([&](int lane) {
    int kept = 0;
    for (int i = lane * chunk; i < smaller(count, (lane + 1) * chunk); ++i) kept += keep(i) ? 1 : 0;
    counts[lane] = kept;
  });
  int* sums = counts;
  int* next = counts + n_lanes;
  for (int reach = 1; reach < n_lanes; reach *= 2) {
    team.phase(
        [&](int lane) { next[lane] = sums[lane] + (lane >= reach ? sums[lane - reach] : 0); });
    int* const spare = sums;
    sums = next;
    next = spare;
  }
  const int total = sums[n_lanes - 1];
  team.phase([&](int lane) {
    int rank = lane > 0 ? sums[lane - 1] : 0;
    for (int i = lane * chunk; i < smaller(count, (lane + 1) * chunk); ++i) {
      if (keep(i)) emit(i, rank++);
    }
  });
  return total;
}

// Sorts by a network of comparators that all put the smaller item first, so that items missing to
// a power of two would never move: exchange(a, b) puts items a < b in order.
template <class Team, class Exchange>
WKM_HD void sort(Team& team, int count, Exchange&& exchange) {
  for (int log_size = 1; (1 << (log_size - 1)) < count; ++log_size) {
    const int size = 1 << log_size;
    const int n_pairs = ((count + size - 1) >> log_size) << (log_size - 1);
    for_each(team, n_pairs, [&](int pair) {
      const int begin = (pair >> (log_size - 1)) << log_size;
      const int place = pair & (size / 2 - 1);
      const int mirrored = begin + size - 1 - place;
      if (mirrored < count) exchange(begin + place, mirrored);
    });
    for (int log_stride = log_size - 2; log_stride >= 0; --log_stride) {
      const int stride = 1 << log_stride;
      for_each(team, n_pairs, [&](int pair) {
        const int a = ((pair >> log_stride) << (log_stride + 1)) + (pair & (stride - 1));
        if (a + stride < count) exchange(a, a + stride);
      });
    }
  }
}

}  // namespace wkmeans::cuda
