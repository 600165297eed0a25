// Chains of the quadratic form: a block holds a few chains, a thread is one coordinate of one of
// them and reads the others' from shared memory. The parameters are the mean, then the precision
// row by row, which is symmetric: thread j reads its column, next to its neighbours'.

extern "C" __global__ void advance(
    const REAL* x, REAL* out, long long n_samples, int dim, const REAL* parameters, RUN_PARAMETERS
) {
    const Run run = RUN;
    __shared__ __align__(16) REAL centred[2][CHAINS_PER_BLOCK * STRIDE];
    const int own = (int)threadIdx.x / DIM, j = (int)threadIdx.x % DIM;
    const long long chain = (long long)blockIdx.x * CHAINS_PER_BLOCK + own;
    const bool is_there = chain < n_samples;
    const REAL mean = parameters[j];
    const REAL* column = parameters + DIM + j;
#if ROW_IN_REGISTERS
    REAL row[DIM];
#pragma unroll
    for (int k = 0; k < DIM; ++k) row[k] = column[k * DIM];
#endif
    REAL v = is_there ? x[chain * DIM + j] : mean;
    REAL z[STEPS_PER_BLOCK];
    Kept kept(run, chain, j);
    for_each_step(
        run,
        [&](unsigned block) { run.fill(z, block, (unsigned)j, chain); },
        [&](int position, int s) {
            // Two buffers take turns, so that the next state is written while this one is read.
            REAL* state = centred[position % 2] + own * STRIDE;
            state[j] = sub(v, mean);
            __syncthreads();
            // Product, then sum, in the order of the columns.
#if ROW_IN_REGISTERS
            REAL slope = mul(row[0], state[0]);
#pragma unroll
            for (int k = 1; k < DIM; ++k) slope = add(slope, mul(row[k], state[k]));
#else
            REAL slope = mul(column[0], state[0]);
            for (int k = 1; k < DIM; ++k) slope = add(slope, mul(column[k * DIM], state[k]));
#endif
            v = run.step(v, slope, z[position], s);
            kept.step([&](REAL* at) { if (is_there) *at = v; });
        }
    );
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
    out[number] = (REAL)total(DIM, [&](int j) {
        REAL slope = mul(precision[j * DIM], sub(state[0], parameters[0]));
        for (int l = 1; l < DIM; ++l)
            slope = add(slope, mul(precision[j * DIM + l], sub(state[l], parameters[l])));
        return mul(REAL(0.5), mul(sub(state[j], parameters[j]), slope));
    });
}
