// Products of up to eight rows of x with weight matrices: x @ W^T, on tensor cores (mma.m16n8k16). A block computes a
// tile of 16 output features; its warps share the columns among themselves. Codes become exact integers in T, so that
// scales and biases are applied to sums in f32, a group at a time.
//
// Compile-time: BITS (16: plain numbers), GROUP (columns with one scale; of plain numbers those of one step), CHUNK (groups
// of one step), TILES (matrices computed together), NORM, EPS (RMS norm of x before the products), T.

// A matrix of the product: its rows, codes or numbers, and what scales them.
template <typename T>
struct Matrix {
  const uint32_t* w;
  const T* scales;
  const T* biases;
  int rows;
};

// What a lane reads of a row's group: a quarter, in 32-bit words.
template <int BITS, int GROUP>
constexpr int kWords = GROUP / 4 * BITS / 32;

template <int N>
__device__ inline void load_words(uint32_t* to, const uint32_t* from) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
      const uint4 v = __ldcs(reinterpret_cast<const uint4*>(from) + i);
      to[4 * i] = v.x, to[4 * i + 1] = v.y, to[4 * i + 2] = v.z, to[4 * i + 3] = v.w;
    }
  } else if constexpr (N == 2) {
    const uint2 v = __ldcs(reinterpret_cast<const uint2*>(from));
    to[0] = v.x, to[1] = v.y;
  } else {
    to[0] = __ldcs(from);
  }
}

// Eight columns as four pairs. Pairs of 4-bit codes are (0, 4), (1, 5), (2, 6), (3, 7); all others neighbours.
template <typename T, int BITS>
__device__ inline void pairs_of(uint32_t (&pairs)[4], const uint32_t* words) {
  if constexpr (BITS == 4) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      pairs[i] = ((words[0] >> (4 * i)) & 0x000f000fu) | Mma<T>::kOffsetBits;
    }
  } else if constexpr (BITS == 8) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      // 2^23 + code, and the 2^23 away again: exact.
      uint32_t w = words[i / 2] >> (16 * (i % 2));
      float low = __uint_as_float(0x4b000000u | (w & 0xffu)) - 8388608.0f;
      float high = __uint_as_float(0x4b000000u | ((w >> 8) & 0xffu)) - 8388608.0f;
      pairs[i] = Mma<T>::pack(low, high);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      pairs[i] = words[i];
    }
  }
}

// What a lane reads of the weights at a time: CHUNK groups of two rows of each matrix.
template <typename T, int BITS, int GROUP, int TILES, int CHUNK>
struct Weights {
  static constexpr int N = kWords<BITS, GROUP>;
  static constexpr bool CODES = BITS < 16;
  uint32_t words[TILES][2][CHUNK * N];
  // A pair of scales fills a word.
  T scales[TILES][2][2], biases[TILES][2][2];
  static_assert(CHUNK <= 2, "scales are read at once");

  // Groups from `g` on, of rows from `row` on.
  __device__ inline void load(const Matrix<T> (&mats)[TILES], int row, int g, int k, int lane) {
    const int r = lane / 4, t = lane % 4;
    const int groups = k / GROUP, row_words = k * BITS / 32, group_words = GROUP * BITS / 32;
#pragma unroll
    for (int i = 0; i < TILES; i++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        // Rows beyond the last one are computed like it, and not stored.
        const int at = min(row + r + 8 * h, mats[i].rows - 1);
        const uint32_t* from = mats[i].w + (size_t)at * row_words + g * group_words;
#pragma unroll
        for (int c = 0; c < CHUNK; c++) {
          if constexpr (CODES) {
            load_words<N>(words[i][h] + c * N, from + c * group_words + t * N);
          } else {
            // Four lanes read contiguous memory.
#pragma unroll
            for (int e = 0; e < N / 4; e++) {
              load_words<4>(words[i][h] + c * N + 4 * e, from + c * group_words + 16 * e + 4 * t);
            }
          }
        }
        if constexpr (CODES) {
          const T* s = mats[i].scales + (size_t)at * groups + g;
          const T* b = mats[i].biases + (size_t)at * groups + g;
          if constexpr (CHUNK == 2) {
            *reinterpret_cast<uint32_t*>(scales[i][h]) = *reinterpret_cast<const uint32_t*>(s);
            *reinterpret_cast<uint32_t*>(biases[i][h]) = *reinterpret_cast<const uint32_t*>(b);
          } else {
            scales[i][h][0] = *s, biases[i][h][0] = *b;
          }
        }
      }
    }
  }

  // Adds to `acc` their products with `m` rows of x, as mma has them: features lane / 4 and lane / 4 + 8, rows of x
  // lane % 4 * 2 and the one after it.
  template <bool NORM>
  __device__ inline void multiply(
      float (&acc)[TILES][4], int g0, const T* x, const T* norm, float rs, int m, int k, int lane) const {
    const int r = lane / 4, t = lane % 4;
    const uint32_t ones[4] = {Mma<T>::kOnes, Mma<T>::kOnes, Mma<T>::kOnes, Mma<T>::kOnes};
#pragma unroll
    for (int c = 0; c < CHUNK; c++) {
      float sums[4] = {}, part[TILES][4] = {};
#pragma unroll
      for (int e = 0; e < GROUP / 32; e++) {
        const int column = (g0 + c) * GROUP + (CODES ? t * (GROUP / 4) + 8 * e : 32 * e + 8 * t);
        uint4 v = {};
        if (r < m) {
          v = *reinterpret_cast<const uint4*>(x + (size_t)r * k + column);
          if constexpr (NORM) {
            const uint4 n = *reinterpret_cast<const uint4*>(norm + column);
            uint32_t* vs = &v.x;
            const uint32_t* ns = &n.x;
#pragma unroll
            for (int i = 0; i < 4; i++) {
              const float2 a = Mma<T>::unpack(vs[i]), b = Mma<T>::unpack(ns[i]);
              vs[i] = Mma<T>::pack(a.x * rs * b.x, a.y * rs * b.y);
            }
          }
        }
        uint32_t b[4] = {v.x, v.y, v.z, v.w};
        if constexpr (BITS == 4) {
          b[0] = __byte_perm(v.x, v.z, 0x5410), b[1] = __byte_perm(v.x, v.z, 0x7632);
          b[2] = __byte_perm(v.y, v.w, 0x5410), b[3] = __byte_perm(v.y, v.w, 0x7632);
        }
        if constexpr (CODES) {
          Mma<T>::run(sums, ones, b[0], b[1]);
          Mma<T>::run(sums, ones, b[2], b[3]);
        }
#pragma unroll
        for (int i = 0; i < TILES; i++) {
          uint32_t low[4], high[4];
          pairs_of<T, BITS>(low, &words[i][0][c * N + e * BITS / 4]);
          pairs_of<T, BITS>(high, &words[i][1][c * N + e * BITS / 4]);
          float(&d)[4] = CODES ? part[i] : acc[i];
          const uint32_t first[4] = {low[0], high[0], low[1], high[1]};
          const uint32_t second[4] = {low[2], high[2], low[3], high[3]};
          Mma<T>::run(d, first, b[0], b[1]);
          Mma<T>::run(d, second, b[2], b[3]);
        }
      }
      if constexpr (CODES) {
#pragma unroll
        for (int i = 0; i < TILES; i++) {
#pragma unroll
          for (int d = 0; d < 4; d++) {
            const float s = float(scales[i][d / 2][c]), bias = float(biases[i][d / 2][c]);
            const float offset = BITS == 4 ? bias - Mma<T>::kOffset * s : bias;
            acc[i][d] += part[i][d] * s + offset * sums[d % 2];
          }
        }
      }
    }
  }
};

// 1 / rms of this lane's row of x.
template <typename T, int WARPS>
__device__ inline float row_scale(const T* x, int m, int k, float eps, int warp, int lane) {
  __shared__ float squares[8][WARPS];
  for (int n = 0; n < m; n++) {
    float sum = 0;
    for (int i = (warp * 32 + lane) * 8; i < k; i += WARPS * 256) {
      const uint4 v = *reinterpret_cast<const uint4*>(x + (size_t)n * k + i);
      const uint32_t* vs = &v.x;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const float2 a = Mma<T>::unpack(vs[j]);
        sum += a.x * a.x + a.y * a.y;
      }
    }
    for (int step = 16; step > 0; step /= 2) {
      sum += __shfl_xor_sync(0xffffffff, sum, step);
    }
    if (lane == 0) {
      squares[n][warp] = sum;
    }
  }
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < WARPS; w++) {
    sum += squares[min(lane / 4, m - 1)][w];
  }
  return rsqrtf(sum / k + eps);
}

// The sums of all warps: thread `feature + 16 * row` gets those of one feature and one row of x.
template <int TILES, int WARPS>
__device__ inline void gathered(float (&total)[TILES], const float (&acc)[TILES][4], int warp, int lane) {
  __shared__ float sums[WARPS][TILES][16 * 8];
  const int r = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < TILES; i++) {
#pragma unroll
    for (int d = 0; d < 4; d++) {
      sums[warp][i][(r + 8 * (d / 2)) * 8 + 2 * t + d % 2] = acc[i][d];
    }
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    const int feature = threadIdx.x % 16, n = threadIdx.x / 16;
#pragma unroll
    for (int i = 0; i < TILES; i++) {
      total[i] = 0;
      for (int w = 0; w < WARPS; w++) {
        total[i] += sums[w][i][feature * 8 + n];
      }
    }
  }
}

__device__ inline float silu(float x) {
  return x / (1.0f + __expf(-x));
}

// GELU by its tanh approximation (Hendrycks and Gimpel 2016, arXiv:1606.08415).
__device__ inline float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}

__device__ inline float gelu(float x) {
  return 0.5f * x * (1.0f + erff(x * 0.7071067812f));
}

__device__ inline float relu(float x) {
  return fmaxf(x, 0.0f);
}

__device__ inline float relu_squared(float x) {
  return relu(x) * relu(x);
}
