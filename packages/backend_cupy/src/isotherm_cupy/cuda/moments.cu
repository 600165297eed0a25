// Mean and variance over the chains, for one node of the tree after the other: a thread is (k, node,
// j), the coordinate fastest.

// Of the nodes that hold 2^HEIGHT chains.
extern "C" __global__ void chain_moments(
    const REAL* states, long long chain_stride, long long kept_stride, long long n_samples,
    long long n_kept, int dim, unsigned long long chain_offset, long long n_nodes, double* mean,
    double* variance
) {
    const long long number = thread_number();
    if (number >= n_kept * n_nodes * dim) return;
    const long long k = number / dim / n_nodes;
    const REAL* state = states + k * kept_stride + number % dim;
    const Chains chains = {chain_offset, chain_offset + (unsigned long long)n_samples};
    const Chains own = chains.of((chain_offset >> HEIGHT) + number / dim % n_nodes, HEIGHT);
    const Moments all = joined_nodes(own.first, own.last, [&](unsigned long long chain) {
        return Moments{1.0, (double)state[(long long)(chain - chain_offset) * chain_stride], 0.0};
    });
    mean[number] = all.mean;
    variance[number] = all.variance;
}

// Of nodes of the height `above` + HEIGHT, from those of the height `above`.
extern "C" __global__ void node_moments(
    const double* means, const double* variances, long long n_samples, long long n_kept, int dim,
    unsigned long long chain_offset, int above, long long n_before, long long n_nodes, double* mean,
    double* variance
) {
    const long long number = thread_number();
    if (number >= n_kept * n_nodes * dim) return;
    const long long k = number / dim / n_nodes, place = k * n_before * dim + number % dim;
    const Chains chains = {chain_offset, chain_offset + (unsigned long long)n_samples};
    const Chains before = {chain_offset >> above, (chains.last - 1 >> above) + 1};
    const Chains own = before.of((before.first >> HEIGHT) + number / dim % n_nodes, HEIGHT);
    const Moments all = joined_nodes(own.first, own.last, [&](unsigned long long node) {
        const long long at = place + (long long)(node - before.first) * dim;
        return Moments{chains.of(node, above).count(), means[at], variances[at]};
    });
    mean[number] = all.mean;
    variance[number] = all.variance;
}

// Numbers of an array of doubles as those of states are.
extern "C" __global__ void rounded(const double* numbers, long long size, REAL* out) {
    const long long number = thread_number();
    if (number < size) out[number] = (REAL)numbers[number];
}
