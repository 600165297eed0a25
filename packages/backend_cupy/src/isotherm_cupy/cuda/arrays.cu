// For the array loop: the step.

extern "C" __global__ void update(
    REAL* x, const REAL* gradient, const REAL* normal, long long size, int s, RUN_PARAMETERS
) {
    const Run run = RUN;
    const long long element = thread_number();
    if (element >= size) return;
    x[element] = run.step(x[element], gradient[element], normal[element], s);
}
