// A block of the noise stream's normals, written to memory.

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
