// Attention of the positions of a prompt over those before them and themselves, on tensor cores, with a running softmax
// (Dao et al. 2022, arXiv:2205.14135; Milakov and Gimelshein 2018, arXiv:1805.02867). A block works on 64 queries of one
// head, each of its warps on 16 of them; keys and values come through shared memory, 64 positions at a time.
//
// Compile-time: T, DIM, HEADS, KV_HEADS, CAUSAL, SCALE, CAP (0: none).

constexpr int kWarps = 4, kTile = 64;
constexpr float kLog2E = 1.4426950408889634f;

// Rows of keys or values: the padding lets lanes that read one column of eight rows meet eight different banks.
template <typename T, int DIM>
struct Tile {
  T rows[kTile][DIM + 8];

  // Positions from `at` on; zeros after the last one, because 0 times what is there might not be 0.
  __device__ inline void load(const T* from, int at, int total) {
    constexpr int PIECES = DIM / 8;
#pragma unroll
    for (int i = threadIdx.x; i < kTile * PIECES; i += kWarps * 32) {
      const int row = i / PIECES, piece = i % PIECES;
      uint4 v = {};
      if (at + row < total) {
        v = *reinterpret_cast<const uint4*>(from + (size_t)(at + row) * DIM + 8 * piece);
      }
      *reinterpret_cast<uint4*>(&rows[row][8 * piece]) = v;
    }
  }

  // Two neighbours.
  __device__ inline uint32_t pair(int row, int column) const {
    return *reinterpret_cast<const uint32_t*>(&rows[row][column]);
  }
};

// Four matrices of 8 x 8, transposed, from rows whose addresses the lanes give, eight for each matrix.
template <typename T>
__device__ inline void load_transposed(uint32_t (&to)[4], const T* row) {
  uint32_t at;
  asm("{ .reg .u64 shared; cvta.to.shared.u64 shared, %1; cvt.u32.u64 %0, shared; }" : "=r"(at) : "l"(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(at)
               : "memory");
}

// Over the four lanes that have a row.
__device__ inline float row_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, 1));
  return fmaxf(v, __shfl_xor_sync(0xffffffff, v, 2));
}

__device__ inline float row_sum(float v) {
  v += __shfl_xor_sync(0xffffffff, v, 1);
  return v + __shfl_xor_sync(0xffffffff, v, 2);
}
