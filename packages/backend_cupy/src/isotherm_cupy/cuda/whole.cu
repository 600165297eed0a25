// Chains of a program of the whole state: a thread is one chain, its state in registers.

extern "C" __global__ void advance(
    const REAL* x, REAL* out, long long n_samples, int dim, const REAL* parameters, RUN_PARAMETERS
) {
    const Run run = RUN;
    const long long chain = thread_number();
    if (chain >= n_samples) return;
    const Uniform uniform(parameters);
    REAL v[DIM], slope[DIM], z[DIM][STEPS_PER_BLOCK];
#pragma unroll
    for (int j = 0; j < DIM; ++j) v[j] = x[chain * DIM + j];
    Kept kept(run, chain, 0);
    for_each_step(
        run,
        [&](unsigned block) {
#pragma unroll
            for (int j = 0; j < DIM; ++j) run.fill(z[j], block, (unsigned)j, chain);
        },
        [&](int position, int s) {
            gradient(v, slope, uniform);
#pragma unroll
            for (int j = 0; j < DIM; ++j) {
                v[j] = run.step(v[j], slope[j], z[j][position], s);
            }
            kept.step([&](REAL* at) {
#pragma unroll
                for (int j = 0; j < DIM; ++j) at[j] = v[j];
            });
        }
    );
#pragma unroll
    for (int j = 0; j < DIM; ++j) out[chain * DIM + j] = v[j];
}
