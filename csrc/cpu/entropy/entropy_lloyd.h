#pragma once

#include "cpu/entropy/entropy_codebook.h"
#include "cpu/intervals/pyramid.h"
#include "cpu/read/points.h"

namespace wkmeans {

// Entropy-constrained Lloyd on sorted points, the importance of each being the number of weights it
// stands for. Where all weights count alike the cheapest codewords are the lower envelope of
// parabolas of one width, so that labels are intervals and a round costs O(k log n). Moves
// `codebook` in place for at most `max_rounds` rounds, stopping early where a round would change
// nothing, and returns the number of rounds made.
int entropy_lloyd(const Points& points, const Pyramid<QuadraticMoments>& pyramid, double multiplier,
                  Zero zero, int max_rounds, EntropyCodebook& codebook);

}  // namespace wkmeans
