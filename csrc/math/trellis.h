#pragma once

namespace wkmeans {

// Integers z that follow one another down a trellis of eight states: Ungerboeck's code of parity
// checks 13 and 4, octal. In a state integers of one parity may stand, and which of two states
// comes next is the second bit of z, so that the integers that lead to one state are four apart.
constexpr int kTrellisStates = 8;

constexpr int trellis_parity(int state) { return state & 1; }

// second: the second bit of the integer, its first is the parity.
constexpr int trellis_next(int state, int second) {
  const int parity = state & 1;
  return ((state >> 1 & 1) ^ parity) | ((state >> 2 ^ second) << 1) | (parity << 2);
}

// The state that `second` leads from to this one.
constexpr int trellis_before(int state, int second) {
  const int parity = state >> 2;
  return parity | (((state & 1) ^ parity) << 1) | (((state >> 1 & 1) ^ second) << 2);
}

}  // namespace wkmeans
