// The gradient at each chain's state, for callers outside of a run.

extern "C" __global__ void gradients(
    const REAL* x, long long n_samples, const REAL* parameters, REAL* out
) {
    const long long chain = thread_number();
    if (chain >= n_samples) return;
    const Uniform uniform(parameters);
    gradient(x + chain * DIM, out + chain * DIM, uniform);
}
