// U of kept states, a team for each.

extern "C" __global__ void energies(
    const REAL* states, long long chain_stride, long long kept_stride, long long n_samples,
    long long n_kept, int dim, const REAL* parameters, REAL* out, const int* indices, REAL* memory,
    long long n_numbers
) {
    const int c = (int)threadIdx.x % WIDTH, member = (int)threadIdx.x / WIDTH;
    REAL* const own = memory + (long long)blockIdx.x * n_numbers * WIDTH + c;
    const Uniform uniform(parameters, indices, own + DIM * WIDTH, member);
    for (long long tile = blockIdx.x; tile * WIDTH < n_samples * n_kept; tile += gridDim.x) {
        const long long number = tile * WIDTH + c;
        const bool is_there = number < n_samples * n_kept;
        const long long k = number / n_samples, chain = number % n_samples;
        const REAL* const state = states + chain * chain_stride + k * kept_stride;
        for (int j = member; j < DIM; j += TEAM) own[j * WIDTH] = is_there ? state[j] : REAL(0);
        const REAL value = energy(own, uniform);
        if (is_there && member == 0) out[number] = value;
    }
}
