// Chains of the quadratic form: a block holds a few chains, a thread is one coordinate of one of
// them and reads the others' from shared memory. The parameters are the mean, then the precision
// row by row, which is symmetric: thread j reads its column, next to its neighbours'.

extern "C" __global__ void advance(
    const REAL* x, REAL* out, long long n_samples, int dim, const REAL* parameters,
    const REAL* step_size, const REAL* scale, const int* kept, int n_steps, long long first_step,
    unsigned k0, unsigned k1, unsigned stream, unsigned long long chain_offset,
    REAL low, REAL high, REAL* states, long long chain_stride, long long kept_stride
) {
    __shared__ REAL centred[CHAINS_PER_BLOCK * DIM];
    const int own = (int)threadIdx.x / DIM, j = (int)threadIdx.x % DIM;
    const long long chain = (long long)blockIdx.x * CHAINS_PER_BLOCK + own;
    const bool is_there = own < CHAINS_PER_BLOCK && chain < n_samples;
    const Stream noise = {k0, k1, stream, chain_offset};
    const Step step = {low, high};
    const States keep = {states, chain_stride, kept_stride};
    const REAL mean = parameters[j];
    const REAL* column = parameters + DIM + j;
#if ROW_IN_REGISTERS
    REAL row[DIM];
#pragma unroll
    for (int k = 0; k < DIM; ++k) row[k] = column[k * DIM];
#endif
    REAL v = is_there ? x[chain * DIM + j] : mean;
    REAL z[STEPS_PER_BLOCK];
    int s = 0;
    while (s < n_steps) {
        const unsigned block = (unsigned)((first_step + s) / STEPS_PER_BLOCK);
        const int first = (int)((first_step + s) % STEPS_PER_BLOCK);
        noise.fill(z, block, (unsigned)j, chain);
#pragma unroll
        for (int position = 0; position < STEPS_PER_BLOCK; ++position) {
            if (position < first || s >= n_steps) continue;
            if (own < CHAINS_PER_BLOCK) centred[own * DIM + j] = sub(v, mean);
            __syncthreads();
            REAL slope = REAL(0);
            const REAL* chains_own = centred + (own < CHAINS_PER_BLOCK ? own * DIM : 0);
#if ROW_IN_REGISTERS
#pragma unroll
            for (int k = 0; k < DIM; ++k) slope = fused(row[k], chains_own[k], slope);
#else
            for (int k = 0; k < DIM; ++k) slope = fused(column[k * DIM], chains_own[k], slope);
#endif
            __syncthreads();  // before anybody writes the next state
            v = step(v, slope, z[position], step_size[s], scale[s]);
            if (is_there && kept[s] >= 0) keep(chain, kept[s], j) = v;
            ++s;
        }
    }
    if (is_there) out[chain * DIM + j] = v;
}

extern "C" __global__ void energies(
    const REAL* states, long long chain_stride, long long kept_stride, long long n_samples,
    long long n_kept, int dim, const REAL* parameters, REAL* out
) {
    const long long number = thread_number();
    if (number >= n_samples * n_kept) return;
    const long long k = number / n_samples, chain = number % n_samples;
    const REAL* state = states + chain * chain_stride + k * kept_stride;
    const REAL* precision = parameters + DIM;
    REAL total = REAL(0);
    for (int i = 0; i < DIM; ++i) {
        REAL slope = REAL(0);
        for (int j = 0; j < DIM; ++j)
            slope = fused(precision[i * DIM + j], sub(state[j], parameters[j]), slope);
        total = fused(sub(state[i], parameters[i]), slope, total);
    }
    out[number] = mul(REAL(0.5), total);
}
