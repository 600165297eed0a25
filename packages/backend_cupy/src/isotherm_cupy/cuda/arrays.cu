// For the array loop: a block of normals, and the step that uses one of them.

extern "C" __global__ void fill(
    REAL* out, long long n_samples, int dim, unsigned block, RUN_PARAMETERS
) {
    const Run run = RUN;
    const long long element = thread_number(), size = n_samples * dim;
    if (element >= size) return;
    REAL z[STEPS_PER_BLOCK];
    run.fill(z, block, (unsigned)(element % dim), element / dim);
#pragma unroll
    for (int position = 0; position < STEPS_PER_BLOCK; ++position)
        out[position * size + element] = z[position];
}

extern "C" __global__ void update(
    REAL* x, const REAL* gradient, const REAL* normal, long long size, int s, RUN_PARAMETERS
) {
    const Run run = RUN;
    const long long element = thread_number();
    if (element >= size) return;
    x[element] = run.step(x[element], gradient[element], normal[element], s);
}
