  constexpr int OWN = Share<DIM>::kOwn, LANES = Share<DIM>::kLanes, POSITIONS = Share<DIM>::kPositions;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int head = blockIdx.x, sequence = blockIdx.z, share = blockIdx.y, shares = gridDim.y;
  const int kv_head = head / (HEADS / KV_HEADS);
  // Where the new key goes; the sequence begins where its first position is.
  const int at = places[0], position = places[1 + sequence];
  const int begin = at - position;
  T* cached_keys = const_cast<T*>(keys) + ((size_t)sequence * KV_HEADS + kv_head) * capacity * DIM;
  T* cached_values = const_cast<T*>(values) + ((size_t)sequence * KV_HEADS + kv_head) * capacity * DIM;

  __shared__ float query[DIM], key[DIM];
  const size_t row = (size_t)sequence * KV_HEADS + kv_head;
  if (warp == 0) {
    head_of<T, DIM>(
        query, q + ((size_t)sequence * HEADS + head) * DIM, NORM ? q_norm : nullptr, EPS, frequencies, ROTATED, INTERLEAVED,
        MAGNITUDE, SCALE, true, position, lane);
  } else if (warp == 1) {
    head_of<T, DIM>(
        key, k + row * DIM, NORM ? k_norm : nullptr, EPS, frequencies, ROTATED, INTERLEAVED, MAGNITUDE, 1.0f, true, position,
        lane);
    if (share == 0 && head % (HEADS / KV_HEADS) == 0) {
      __syncwarp();
      for (int i = lane; i < DIM; i += 32) {
        cached_keys[(size_t)at * DIM + i] = T(key[i]);
        cached_values[(size_t)at * DIM + i] = v[row * DIM + i];
      }
    }
  }
  __syncthreads();

  // Old positions in shares of whole rounds of a block; the last share has the new one as well.
  const int each = (position + shares - 1) / shares;
  const int first = begin + share * each, last = min(begin + (share + 1) * each, at);
  const int own = lane % LANES * OWN;
  float most = -INFINITY, total = 0, result[OWN] = {}, mine[OWN];
#pragma unroll
  for (int i = 0; i < OWN; i++) {
    mine[i] = query[own + i];
  }
#pragma unroll 2
  for (int s = first + warp * POSITIONS; s < last; s += kWarps * POSITIONS) {
    const int here = s + lane / LANES;
    const bool visible = here < last;
    const size_t from = (size_t)min(here, last - 1) * DIM + own;
    float ks[OWN], vs[OWN];
    load_own<T, OWN>(ks, cached_keys + from);
    load_own<T, OWN>(vs, cached_values + from);
    float score = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
      score += mine[i] * ks[i];
    }
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
      score += __shfl_xor_sync(0xffffffff, score, step);
    }
    score = visible ? capped(score, CAP) : -INFINITY;
    const float factor = merged(most, score);
    const float weight = visible ? __expf(score - most) : 0.0f;
    total = total * factor + weight;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
      result[i] = result[i] * factor + weight * vs[i];
    }
  }
  // The new position, by the first lanes of the last share's first warp.
  if (share == shares - 1 && warp == 0) {
    float score = 0;
    for (int i = 0; i < OWN; i++) {
      score += mine[i] * key[own + i];
    }
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
      score += __shfl_xor_sync(0xffffffff, score, step);
    }
    if (lane < LANES) {
      score = capped(score, CAP);
      const float factor = merged(most, score);
      const float weight = __expf(score - most);
      total = total * factor + weight;
      for (int i = 0; i < OWN; i++) {
        result[i] = result[i] * factor + weight * float(v[row * DIM + own + i]);
      }
    }
  }
  // The lanes that have the same features.
#pragma unroll
  for (int step = LANES; step < 32; step *= 2) {
    const float other = __shfl_xor_sync(0xffffffff, most, step), others = __shfl_xor_sync(0xffffffff, total, step);
    const float factor = merged(most, other), their = other == -INFINITY ? 0.0f : __expf(other - most);
    total = total * factor + others * their;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
      result[i] = result[i] * factor + __shfl_xor_sync(0xffffffff, result[i], step) * their;
    }
  }
  __shared__ float maxima[kWarps], totals[kWarps], results[kWarps][DIM];
  if (lane < LANES) {
    for (int i = 0; i < OWN; i++) {
      results[warp][own + i] = result[i];
    }
    if (lane == 0) {
      maxima[warp] = most, totals[warp] = total;
    }
  }
  __syncthreads();
  float high = -INFINITY, sum = 0;
  for (int w = 0; w < kWarps; w++) {
    high = fmaxf(high, maxima[w]);
  }
  for (int w = 0; w < kWarps; w++) {
    sum += maxima[w] == -INFINITY ? 0.0f : totals[w] * __expf(maxima[w] - high);
  }
  const size_t target = (size_t)sequence * HEADS + head;
  for (int i = threadIdx.x; i < DIM; i += blockDim.x) {
    float value = 0;
    for (int w = 0; w < kWarps; w++) {
      value += maxima[w] == -INFINITY ? 0.0f : results[w][i] * __expf(maxima[w] - high);
    }
    if (shares == 1) {
      out[target * DIM + i] = T(value / sum);
    } else {
      partial[(target * shares + share) * (DIM + 2) + i] = value;
    }
  }
  if (threadIdx.x == 0) {
    written[target] = 1u;
  }
  if (shares == 1) {
    return;
  }
  if (threadIdx.x == 0) {
    partial[(target * shares + share) * (DIM + 2) + DIM] = high;
    partial[(target * shares + share) * (DIM + 2) + DIM + 1] = sum;
  }
  __shared__ bool is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* count = const_cast<unsigned*>(counts) + target;
    is_last = atomicAdd(count, 1u) == shares - 1;
    if (is_last) {
      *count = 0;
    }
  }
  __syncthreads();
  if (!is_last) {
    return;
  }
  __threadfence();
  const volatile float* all = partial + target * shares * (DIM + 2);
  for (int s = 0; s < shares; s++) {
    high = s == 0 ? all[DIM] : fmaxf(high, all[s * (DIM + 2) + DIM]);
  }
  for (int i = threadIdx.x; i < DIM; i += blockDim.x) {
    float value = 0, weight = 0;
    for (int s = 0; s < shares; s++) {
      const float most = all[s * (DIM + 2) + DIM];
      const float factor = most == -INFINITY ? 0.0f : __expf(most - high);
      value += all[s * (DIM + 2) + i] * factor;
      weight += all[s * (DIM + 2) + DIM + 1] * factor;
    }
    out[target * DIM + i] = T(value / weight);
  }
