// Attention of one new position per sequence, with what precedes it: norms and rotation of queries and keys, and
// writing the new key and value into the cache. A block works on one query head of one sequence and a share of its keys
// (gridDim.y shares); where there are several, the last block to finish combines them.
//
// Compile-time: T, DIM, HEADS, KV_HEADS, NORM, EPS, ROTATED (features), INTERLEAVED, MAGNITUDE, SCALE, CAP (0: none).

constexpr int kWarps = 16;

template <int DIM>
struct Share {
  // Features of a lane, lanes of a position, positions of a warp.
  static constexpr int kOwn = DIM / 16 >= 4 ? 16 : 8;
  static constexpr int kLanes = DIM / kOwn;
  static constexpr int kPositions = 32 / kLanes;
};

__device__ inline float warp_sum(float v) {
  for (int step = 16; step > 0; step /= 2) {
    v += __shfl_xor_sync(0xffffffff, v, step);
  }
  return v;
}

// One head, by one warp: RMS norm, rotation, factor; as numbers of T where `round`.
template <typename T, int DIM>
__device__ inline void head_of(
    float* to, const T* from, const T* weight, float eps, const float* frequencies, int rotated, bool interleaved, float magnitude,
    float factor, bool round, int position, int lane) {
  float values[DIM / 32], squares = 0;
#pragma unroll
  for (int i = 0; i < DIM / 32; i++) {
    values[i] = float(from[lane + 32 * i]);
    squares += values[i] * values[i];
  }
  if (weight) {
    const float rs = rsqrtf(warp_sum(squares) / DIM + eps);
#pragma unroll
    for (int i = 0; i < DIM / 32; i++) {
      // Rounded as if the norm were a separate operation.
      values[i] = float(T(values[i] * rs * float(weight[lane + 32 * i])));
    }
  }
#pragma unroll
  for (int i = 0; i < DIM / 32; i++) {
    to[lane + 32 * i] = values[i];
  }
  __syncwarp();
  const int half = rotated / 2;
  for (int i = lane; i < half; i += 32) {
    const int a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + half;
    float sine, cosine;
    sincosf(float(position) * frequencies[i], &sine, &cosine);
    const float first = to[a], second = to[b];
    to[a] = (first * cosine - second * sine) * magnitude;
    to[b] = (first * sine + second * cosine) * magnitude;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < DIM / 32; i++) {
    float v = to[lane + 32 * i];
    to[lane + 32 * i] = (round ? float(T(v)) : v) * factor;
  }
}

// Adds sums relative to another maximum.
__device__ inline float merged(float& most, float other) {
  const float high = fmaxf(most, other);
  const float factor = most == -INFINITY ? 0.0f : __expf(most - high);
  most = high;
  return factor;
}

template <typename T, int OWN>
__device__ inline void load_own(float (&to)[OWN], const T* from) {
#pragma unroll
  for (int i = 0; i < OWN / 8; i++) {
    const uint4 v = reinterpret_cast<const uint4*>(from)[i];
    const T* own = reinterpret_cast<const T*>(&v);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      to[8 * i + j] = float(own[j]);
    }
  }
}

__device__ inline float capped(float score, float cap) {
  return cap > 0 ? cap * tanhf(score / cap) : score;
}
