#pragma once

namespace wkmeans {

// How items become points: by a count of each value (halves), by moments of narrow buckets and the
// order of those weights alone that lie around boundaries, or by the order of all.
enum class Reading { counted, bucketed, sorted };

}  // namespace wkmeans
