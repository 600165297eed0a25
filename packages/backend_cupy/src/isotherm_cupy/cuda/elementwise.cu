// U of kept states of an elementwise program, a thread for each.

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
