  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int tile = blockIdx.x;
  Matrix<T> mats[TILES];
  CHOOSE
  const int row = tile * 16, rows = mats[0].rows;
  float acc[TILES][4] = {}, total[TILES], rs = 1;
  if constexpr (NORM) {
    rs = row_scale<T, WARPS>(x, m, k, EPS, warp, lane);
  }
  tile_products<T, BITS, GROUP, TILES, NORM>(acc, mats, row, x, NORM_WEIGHT, rs, m, k, warp, WARPS, lane);
  gathered<TILES, WARPS>(total, acc, warp, lane);
  const int feature = row + threadIdx.x % 16, n = threadIdx.x / 16;
  if (n < m && feature < rows) {
    const size_t at = (size_t)n * rows + feature;
    THEN
  }
