// isotherm._arithmetic.sums transcribed: totals over coordinates, moments over chains.

// The greatest power of two up to n, or 0.
__device__ constexpr int highest_bit(int n) { return n < 2 ? n : 2 * highest_bit(n / 2); }

// The total of term(0) .. term(n - 1), folded by a power of two, in float64. The terms are taken in
// the order of their numbers' bits reversed, in which the fold's pairs follow each other.
template <class Term>
__device__ __forceinline__ double total(int n, Term term) {
    int height = 0;
    while ((1ll << height) < n) ++height;
    double waiting[32];
    for (unsigned b = 0; b < 1u << height; ++b) {
        unsigned j = 0;
        for (int bit = 0; bit < height; ++bit) j |= (b >> bit & 1) << (height - 1 - bit);
        double sum = j < (unsigned)n ? (double)term((int)j) : -0.0;
        int level = 0;
        for (; b >> level & 1; ++level) sum = add(waiting[level], sum);
        waiting[level] = sum;
    }
    return waiting[height];
}

// Mean and variance over n chains. Chan, Golub and LeVeque, "Updating formulae and a pairwise
// algorithm for computing sample variances", 1979, equation 2.1, divided by the number of chains.
struct Moments { double n, mean, variance; };

__device__ __forceinline__ Moments joined(const Moments& a, const Moments& b) {
    const double n = add(a.n, b.n), shift = sub(b.mean, a.mean);
    double left = 0.5, right = 0.5;
    if (a.n != b.n) {
        left = quotient(a.n, n);
        right = quotient(b.n, n);
    }
    const double between = mul(mul(left, right), mul(shift, shift));
    const double within = add(mul(left, a.variance), mul(right, b.variance));
    return {n, add(a.mean, mul(right, shift)), add(within, between)};
}

// Neighbours, by their numbers: first .. last - 1.
struct Chains {
    unsigned long long first, last;

    // Those in a node of the tree.
    __device__ __forceinline__ Chains of(unsigned long long node, int height) const {
        const unsigned long long low = node << height, high = node + 1 << height;
        return {low < first ? first : low, high > last ? last : high};
    }
    __device__ __forceinline__ double count() const { return __ull2double_rn(last - first); }
};

// The moments over neighbouring nodes of the tree over the chains' numbers, first .. last - 1 of
// their height, all of them in one node that is HEIGHT higher.
template <class Node>
__device__ __forceinline__ Moments joined_nodes(
    unsigned long long first, unsigned long long last, Node node
) {
    Moments waiting[HEIGHT + 1];  // where there is one, of this height above the nodes
    unsigned is_there = 0;
    for (unsigned long long number = first; number < last; ++number) {
        Moments next = node(number);
        int height = 0;
        for (; number >> height & 1 && height < HEIGHT; ++height) {
            if (is_there >> height & 1) next = joined(waiting[height], next);
            is_there &= ~(1u << height);
        }
        waiting[height] = next;
        is_there |= 1u << height;
    }
    int height = 0;
    while (!(is_there >> height & 1)) ++height;
    Moments all = waiting[height];
    while (++height <= HEIGHT)
        if (is_there >> height & 1) all = joined(waiting[height], all);
    return all;
}
