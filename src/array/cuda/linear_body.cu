  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int tile = blockIdx.x;
  Matrix<T> mats[TILES];
  CHOOSE
  const int row = tile * 16, rows = mats[0].rows;
  float acc[TILES][4] = {}, total[TILES], rs = 1;
  using Read = Weights<T, BITS, GROUP, TILES, CHUNK>;
  constexpr int STEP = WARPS * CHUNK;
  const int groups = k / GROUP, from = warp * CHUNK;
  if constexpr (BITS == 16) {
    // Plain weights take no work, so that the next are read meanwhile; the first already while x is normalised.
    Read now, next;
    if (from < groups) {
      now.load(mats, row, from, k, lane);
    }
    if constexpr (NORM) {
      rs = row_scale<T, WARPS>(x, m, k, EPS, warp, lane);
    }
    for (int g = from; g < groups; g += STEP) {
      if (g + STEP < groups) {
        next.load(mats, row, g + STEP, k, lane);
      }
      now.template multiply<NORM>(acc, g, x, NORM_WEIGHT, rs, m, k, lane);
      now = next;
    }
  } else {
    if constexpr (NORM) {
      rs = row_scale<T, WARPS>(x, m, k, EPS, warp, lane);
    }
#pragma unroll 1
    for (int g = from; g < groups; g += STEP) {
      Read now;
      now.load(mats, row, g, k, lane);
      now.template multiply<NORM>(acc, g, x, NORM_WEIGHT, rs, m, k, lane);
    }
  }
  gathered<TILES, WARPS>(total, acc, warp, lane);
  const int feature = row + threadIdx.x % 16, n = threadIdx.x / 16;
  if (n < m && feature < rows) {
    const size_t at = (size_t)n * rows + feature;
    EPILOGUE
  }
