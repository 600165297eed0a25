// Chains of a program of the whole state: a thread is one chain, its state in registers.

extern "C" __global__ void advance(
    const REAL* x, REAL* out, long long n_samples, int dim, const REAL* parameters,
    const REAL* step_size, const REAL* scale, const int* kept, int n_steps, long long first_step,
    unsigned k0, unsigned k1, unsigned stream, unsigned long long chain_offset,
    REAL low, REAL high, REAL* states, long long chain_stride, long long kept_stride
) {
    const long long chain = thread_number();
    if (chain >= n_samples) return;
    const Stream noise = {k0, k1, stream, chain_offset};
    const Step step = {low, high};
    const States keep = {states, chain_stride, kept_stride};
    const Uniform uniform(parameters);
    REAL v[DIM], slope[DIM], z[DIM][STEPS_PER_BLOCK];
#pragma unroll
    for (int j = 0; j < DIM; ++j) v[j] = x[chain * DIM + j];
    int s = 0;
    while (s < n_steps) {
        const unsigned block = (unsigned)((first_step + s) / STEPS_PER_BLOCK);
        const int first = (int)((first_step + s) % STEPS_PER_BLOCK);
#pragma unroll
        for (int j = 0; j < DIM; ++j) noise.fill(z[j], block, (unsigned)j, chain);
#pragma unroll
        for (int position = 0; position < STEPS_PER_BLOCK; ++position) {
            if (position < first || s >= n_steps) continue;
            gradient(v, slope, uniform);
#pragma unroll
            for (int j = 0; j < DIM; ++j) {
                v[j] = step(v[j], slope[j], z[j][position], step_size[s], scale[s]);
                if (kept[s] >= 0) keep(chain, kept[s], j) = v[j];
            }
            ++s;
        }
    }
#pragma unroll
    for (int j = 0; j < DIM; ++j) out[chain * DIM + j] = v[j];
}

extern "C" __global__ void energies(
    const REAL* states, long long chain_stride, long long kept_stride, long long n_samples,
    long long n_kept, int dim, const REAL* parameters, REAL* out
) {
    const long long number = thread_number();
    if (number >= n_samples * n_kept) return;
    const long long k = number / n_samples, chain = number % n_samples;
    const Uniform uniform(parameters);
    out[number] = energy(states + chain * chain_stride + k * kept_stride, uniform);
}
