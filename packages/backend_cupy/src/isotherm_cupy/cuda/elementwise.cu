// Chains of an elementwise program: a thread is one coordinate of one chain.

extern "C" __global__ void advance(
    const REAL* x, REAL* out, long long n_samples, int dim, const REAL* parameters, RUN_PARAMETERS
) {
    const Run run = RUN;
    const long long element = thread_number();
    if (element >= n_samples * dim) return;
    const long long chain = element / dim;
    const int j = (int)(element % dim);
    const Uniform uniform(parameters);
    REAL v = x[element];
    REAL z[STEPS_PER_BLOCK];
    Kept kept(run, chain, j);
    for_each_step(
        run,
        [&](unsigned block) { run.fill(z, block, (unsigned)j, chain); },
        [&](int position, int s) {
            v = run.step(v, gradient(v, uniform), z[position], s);
            kept.step([&](REAL* at) { *at = v; });
        }
    );
    out[element] = v;
}

extern "C" __global__ void energies(
    const REAL* states, long long chain_stride, long long kept_stride, long long n_samples,
    long long n_kept, int dim, const REAL* parameters, REAL* out
) {
    const long long number = thread_number();
    if (number >= n_samples * n_kept) return;
    const long long k = number / n_samples, chain = number % n_samples;
    const Uniform uniform(parameters);
    const REAL* state = states + chain * chain_stride + k * kept_stride;
    out[number] = (REAL)total(dim, [&](int j) { return energy(state[j], uniform); });
}
