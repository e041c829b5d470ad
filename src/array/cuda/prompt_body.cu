  __shared__ Tile<T, DIM> key_tile, value_tile;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, r = lane / 4, t = lane % 4;
  const int head = blockIdx.y, kv_head = head / (HEADS / KV_HEADS);
  // The last query sees the last position.
  const int before = total - length, first = blockIdx.x * kTile + warp * 16;
  const T* queries = q + (size_t)(blockIdx.z * HEADS + head) * length * DIM;
  const T* keys = k + (size_t)(blockIdx.z * KV_HEADS + kv_head) * total * DIM;
  const T* values = v + (size_t)(blockIdx.z * KV_HEADS + kv_head) * total * DIM;

  uint32_t query[DIM / 16][4];
#pragma unroll
  for (int s = 0; s < DIM / 16; s++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      // Rows after the last query are computed too, but not stored.
      const int row = min(first + r + 8 * (i % 2), length - 1), column = 16 * s + 8 * (i / 2) + 2 * t;
      query[s][i] = *reinterpret_cast<const uint32_t*>(queries + (size_t)row * DIM + column);
    }
  }
  // Of rows r and r + 8: the largest score, the sum of weights (of this lane's columns), and weighted values.
  float largest[2] = {-INFINITY, -INFINITY}, sums[2] = {}, out_rows[DIM / 8][4] = {};
  const int end = CAUSAL ? min(total, before + (int(blockIdx.x) + 1) * kTile) : total;
  for (int at = 0; at < end; at += kTile) {
    __syncthreads();
    key_tile.load(keys, at, total);
    value_tile.load(values, at, total);
    __syncthreads();
    // Eight positions each.
    float scores[kTile / 8][4] = {};
#pragma unroll
    for (int s = 0; s < DIM / 16; s++) {
#pragma unroll
      for (int j = 0; j < kTile / 8; j++) {
        Mma<T>::run(scores[j], query[s], key_tile.pair(8 * j + r, 16 * s + 2 * t), key_tile.pair(8 * j + r, 16 * s + 2 * t + 8));
      }
    }
    float most[2] = {largest[0], largest[1]};
#pragma unroll
    for (int j = 0; j < kTile / 8; j++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int position = at + 8 * j + 2 * t + i % 2, row = first + r + 8 * (i / 2);
        float score = scores[j][i] * SCALE;
        if constexpr (CAP > 0) {
          score = tanhf(score / CAP) * CAP;
        }
        const bool seen = position < total && (!CAUSAL || position <= before + row);
        scores[j][i] = seen ? score * kLog2E : -INFINITY;
        most[i / 2] = fmaxf(most[i / 2], scores[j][i]);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      most[h] = row_max(most[h]);
      // Where nothing is seen so far there is nothing to scale.
      const float factor = most[h] == -INFINITY ? 1.0f : exp2f(largest[h] - most[h]);
      largest[h] = most[h];
      sums[h] *= factor;
#pragma unroll
      for (int d = 0; d < DIM / 8; d++) {
        out_rows[d][2 * h] *= factor, out_rows[d][2 * h + 1] *= factor;
      }
    }
#pragma unroll
    for (int j = 0; j < kTile / 8; j++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        scores[j][i] = scores[j][i] == -INFINITY ? 0.0f : exp2f(scores[j][i] - largest[i / 2]);
        sums[i / 2] += scores[j][i];
      }
    }
#pragma unroll
    for (int s = 0; s < kTile / 16; s++) {
      const float(&low)[4] = scores[2 * s], (&high)[4] = scores[2 * s + 1];
      const uint32_t weights[4] = {
          Mma<T>::pack(low[0], low[1]), Mma<T>::pack(low[2], low[3]), Mma<T>::pack(high[0], high[1]), Mma<T>::pack(high[2], high[3])};
#pragma unroll
      for (int d = 0; d < DIM / 16; d++) {
        // Positions 16 s to 16 s + 15 of 16 features: the lanes name their rows.
        uint32_t b[4];
        load_transposed(b, &value_tile.rows[16 * s + lane % 16][16 * d + 8 * (lane / 16)]);
        Mma<T>::run(out_rows[2 * d], weights, b[0], b[1]);
        Mma<T>::run(out_rows[2 * d + 1], weights, b[2], b[3]);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int row = first + r + 8 * h;
    const float sum = row_sum(sums[h]), factor = sum > 0 ? 1.0f / sum : 0.0f;
    if (row < length) {
      T* to = out + ((size_t)(blockIdx.z * HEADS + head) * length + row) * DIM;
#pragma unroll
      for (int d = 0; d < DIM / 8; d++) {
        *reinterpret_cast<uint32_t*>(to + 8 * d + 2 * t) = Mma<T>::pack(out_rows[d][2 * h] * factor, out_rows[d][2 * h + 1] * factor);
      }
    }
  }
