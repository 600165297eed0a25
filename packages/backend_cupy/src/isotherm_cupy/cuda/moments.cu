// Mean and variance over the chains, in a fixed order: part by part, then over the parts.

extern "C" __global__ void part_moments(
    const REAL* states, long long chain_stride, long long kept_stride, long long n_samples,
    long long n_kept, int dim, long long part, long long n_parts, double* mean, double* square
) {
    // A thread is (k, part, j), the coordinate fastest.
    const long long number = thread_number();
    if (number >= n_kept * n_parts * dim) return;
    const int j = (int)(number % dim);
    const long long first = number / dim % n_parts * part, k = number / dim / n_parts;
    const long long last = first + part < n_samples ? first + part : n_samples;
    const REAL* state = states + k * kept_stride + j;
    double sum = 0.0, squares = 0.0;
    for (long long i = first; i < last; ++i) sum = __dadd_rn(sum, (double)state[i * chain_stride]);
    sum = __ddiv_rn(sum, (double)(last - first));
    for (long long i = first; i < last; ++i) {
        const double deviation = __dsub_rn((double)state[i * chain_stride], sum);
        squares = __dadd_rn(squares, __dmul_rn(deviation, deviation));
    }
    mean[number] = sum;
    square[number] = squares;
}

// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
// variances", 1979, equation 2.1.
extern "C" __global__ void moments(
    const double* part_mean, const double* part_square, long long n_samples, long long n_kept,
    int dim, long long part, long long n_parts, REAL* mean, REAL* variance
) {
    const long long number = thread_number();
    if (number >= n_kept * dim) return;
    const long long k = number / dim;
    const int j = (int)(number % dim);
    const double* means = part_mean + k * n_parts * dim + j;
    const double* squares = part_square + k * n_parts * dim + j;
    double m = means[0], q = squares[0];
    double before = (double)(part < n_samples ? part : n_samples);
    for (long long p = 1; p < n_parts; ++p) {
        const long long left = n_samples - p * part;
        const double size = (double)(left < part ? left : part);
        const double shift = __dsub_rn(means[p * dim], m);
        const double weight = __ddiv_rn(size, __dadd_rn(before, size));
        m = __dadd_rn(m, __dmul_rn(shift, weight));
        q = __dadd_rn(
            __dadd_rn(q, squares[p * dim]),
            __dmul_rn(__dmul_rn(shift, shift), __dmul_rn(before, weight))
        );
        before = __dadd_rn(before, size);
    }
    mean[number] = (REAL)m;
    variance[number] = (REAL)__ddiv_rn(q, (double)n_samples);
}
