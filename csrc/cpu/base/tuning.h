#pragma once

#include <cstddef>
#include <cstdint>

// Where one way of doing a thing takes over from another. All were measured, on heavy-tailed layers
// and on one thread unless said otherwise; each has a wide optimum. A change moves time and memory,
// and answers by no more than rounding.
namespace wkmeans::tuning {

// Reading. Halves have so many values: with more items than values, a count of each beats a sort.
constexpr std::int64_t kCountedItems = 65536;

// Points kept as floats take half the memory of doubles, which only counts where they are many.
constexpr std::int64_t kItemsKeptAsFloats = std::int64_t{1} << 20;

// Buckets: enough that most hold no boundary of the optimum, and few enough that their sums stay in
// the second cache. Where there are many weights, looking into one more bucket costs more than
// summing a few more.
constexpr std::size_t kFewestBuckets = 1024;
constexpr std::size_t kMostBuckets = 32768;
constexpr std::size_t kFewestBucketsPerCluster = 256;
constexpr std::size_t kMostBucketsPerCluster = 1024;
constexpr std::size_t kWeightsPerFurtherBucket = 512;
// With more centroids most buckets hold a boundary; with fewer weights sorting them all is cheap.
constexpr std::size_t kMostBucketedClusters = 64;
constexpr std::size_t kFewestWeightsPerBucket = 16;
// Where fewer buckets than that hold weights, clusters are as narrow as buckets.
constexpr std::size_t kFilledBucketsPerCluster = 8;

// The pyramid's leaves: with larger ones a range costs more, and all leaves less memory.
constexpr std::size_t kPointsOfALeaf = 16;
constexpr std::size_t kPointsOfALargeLeaf = 64;
constexpr std::size_t kPointsWithLargeLeaves = std::size_t{1} << 22;

// Searching. Squeezing windows beats a Lagrangian on few points and clusters: beyond, the latter
// looks at fewer intervals.
constexpr std::size_t kMostSqueezedPoints = std::size_t{1} << 14;
constexpr std::size_t kMostSqueezedClusters = 16;

// Branch and bound gives way to the layers where it has looked at so many times the intervals that
// these would; sweeps look at several in the time of one. A millisecond or two are always granted.
constexpr double kSweepSpeed = 8.0;
constexpr double kFreeWork = 1e6;
// Beyond, the layers would take more than some ten seconds, or more than a gigabyte.
constexpr double kMostLayeredWork = 4e9;
constexpr double kMostLayeredCells = 3e8;  // of four bytes
// Searches that do not close end with the best clustering found, once they have looked at so many
// intervals for each point, and for so many points at least: after some three seconds at 40,000
// points. Costs hundreds of decades apart may never close; of other problems none is known that
// takes all of it. An interval with quartic importances takes as long as so many without, and in
// the layers longer still.
constexpr double kMostWorkOfAPoint = 2e4;
constexpr double kFewestPointsOfMostWork = 40000;
constexpr double kWorkOfAQuarticInterval = 10.0;
constexpr double kWorkOfAQuarticLayer = 4.0;

// The curve: the layers pass every k on their way to the last. A descent costs each of them so many
// of the layers' intervals for each of its clusters, and is not worth starting where the layers
// take milliseconds.
constexpr double kLayeredWorkOfACluster = 250.0;
constexpr std::size_t kFewPointsOfACurve = 4096;

// Threads. Starting one takes about a tenth of a millisecond, in which so many items are read and
// labelled. A cluster takes as long to search as kItemsOfACluster do, a quartic item as long as
// four others.
constexpr std::int64_t kItemsWorthThreads = std::int64_t{1} << 18;
constexpr std::int64_t kItemsOfACluster = 1024;
constexpr std::int64_t kItemsOfAQuarticItem = 4;
// Problems of fewer chunks have too little to share among threads; where every thread has so many
// problems, they are best solved side by side whatever their size.
constexpr std::int64_t kChunksToShare = 4;
constexpr std::int64_t kProblemsPerThread = 4;

}  // namespace wkmeans::tuning
