// For the array loop: a block of normals, and the step that uses one of them.

extern "C" __global__ void fill(
    REAL* out, long long n_samples, int dim, unsigned block, unsigned k0, unsigned k1,
    unsigned stream, unsigned long long chain_offset
) {
    const long long element = thread_number(), size = n_samples * dim;
    if (element >= size) return;
    const Stream noise = {k0, k1, stream, chain_offset};
    REAL z[STEPS_PER_BLOCK];
    noise.fill(z, block, (unsigned)(element % dim), element / dim);
#pragma unroll
    for (int position = 0; position < STEPS_PER_BLOCK; ++position)
        out[position * size + element] = z[position];
}

extern "C" __global__ void update(
    REAL* x, const REAL* gradient, const REAL* normal, long long size, REAL step_size, REAL scale,
    REAL low, REAL high
) {
    const long long element = thread_number();
    if (element >= size) return;
    const Step step = {low, high};
    x[element] = step(x[element], gradient[element], normal[element], step_size, scale);
}
