// A block of the noise stream, written to memory.

// Normals.

extern "C" __global__ void fill(
    REAL* out, long long n_samples, int dim, unsigned block, unsigned k0, unsigned k1,
    unsigned stream, unsigned long long chain_offset, unsigned coordinate_offset
) {
    const long long element = thread_number(), size = n_samples * dim;
    if (element >= size) return;
    const unsigned long long c = chain_offset + (unsigned long long)(element / dim);
    const unsigned coordinate = coordinate_offset + (unsigned)(element % dim);
    const Words counter = {block, coordinate, (unsigned)c, (unsigned)(c >> 32) | stream << 24};
    REAL z[STEPS_PER_BLOCK];
    normals(philox(counter, k0, k1), z);
#pragma unroll
    for (int position = 0; position < STEPS_PER_BLOCK; ++position)
        out[position * size + element] = z[position];
}

// Numbers for accepting, a thread for each chain.
extern "C" __global__ void exponentials(
    REAL* out, long long n_samples, unsigned block, unsigned k0, unsigned k1,
    unsigned long long chain_offset
) {
    const long long chain = thread_number();
    if (chain >= n_samples) return;
    const Noise noise = {k0, k1, chain_offset};
    const long long first = (long long)block * EXPONENTIALS_PER_BLOCK;
#pragma unroll
    for (int position = 0; position < EXPONENTIALS_PER_BLOCK; ++position)
        out[position * n_samples + chain] = noise.exponential(first + position, chain);
}
