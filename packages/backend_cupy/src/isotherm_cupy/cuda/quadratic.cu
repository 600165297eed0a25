// U of kept states of the quadratic form, a thread for each.

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
