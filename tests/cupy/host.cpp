// Runs a grid on the host: its blocks one after another, the threads of a block as fibers that take
// turns at __syncthreads and at shuffles; and watches what they read and write, for what only a card would show.
//
// Kernels are compiled with -fsanitize=thread, so that they call __tsan_read4 and its like at each
// access to memory. These are below, in the place of the library that has them. What they find does
// not depend on the order in which threads take turns:
// - two threads of a block touch a number, one of them writes, and no __syncthreads is between;
// - two blocks do, which nothing orders;
// - a number lies outside of the arrays that the kernel is given;
// - several numbers that are read at once begin where a card cannot read so many;
// - shared or scratch memory is read where its block has not written yet;
// - threads of a block wait at different places, or some wait and others have ended;
// - lanes of a warp do, or a shuffle does not name all of them.
#include "host.hpp"

#include <algorithm>
#include <string>
#include <ucontext.h>
#include <vector>

Index gridDim, blockIdx, blockDim, threadIdx;

extern char __ehdr_start __attribute__((visibility("hidden")));
extern char _end __attribute__((visibility("hidden")));
extern char __start_shared_memory __attribute__((weak, visibility("hidden")));
extern char __stop_shared_memory __attribute__((weak, visibility("hidden")));

namespace {

constexpr unsigned NOBODY = 0, SEVERAL = ~0u, WARP = 32;

// Who touched four bytes: threads since the last __syncthreads, and blocks; counted from 1.
struct Touched {
    unsigned phase, writer, reader, writing_block, reading_block;
};

struct Array {
    uintptr_t first, last;
    std::string name;
    bool is_shared, begins_empty;
    std::vector<Touched> touched;
};

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(1 << 16);
    bool is_done = false;
    int line = 0;
    // At a shuffle: the number that is given, and then that of the partner; nothing elsewhere.
    unsigned size = 0;
    int partner = 0;
    char given[8], taken[8];
};

std::vector<Array> arrays;
std::string fault;
bool is_watching = false;
unsigned phase = 0;  // another one after each __syncthreads of each block
uintptr_t callers_stack;

ucontext_t scheduler;
Fiber* running = nullptr;
void (*body)(void*);
void* body_arguments;

void found(const std::string& what) {
    if (fault.empty())
        fault = what + " (block " + std::to_string(blockIdx.x) + ", thread " +
                std::to_string(threadIdx.x) + ")";
}

bool is_on_a_stack(uintptr_t at) {
    if (at - (callers_stack - (1 << 20)) < (1 << 20) + (1 << 16)) return true;
    return running && at - (uintptr_t)running->stack.data() < running->stack.size();
}

void touch(Array& array, size_t place, bool writes) {
    Touched& one = array.touched[place];
    const unsigned thread = threadIdx.x + 1, block = blockIdx.x + 1;
    const auto name = [&] {
        return array.is_shared ? array.name : array.name + "[" + std::to_string(place) + "]";
    };
    if (one.phase != phase) one = {phase, NOBODY, NOBODY, one.writing_block, one.reading_block};
    const auto other = [](unsigned who, unsigned me) { return who != NOBODY && who != me; };
    if (other(one.writer, thread) || (writes && other(one.reader, thread)))
        found("threads race for " + name());
    if (array.begins_empty && !writes && one.writing_block != block)
        found(name() + " is read before it is written");
    if (!array.is_shared && (other(one.writing_block, block) ||
                             (writes && other(one.reading_block, block))))
        found("blocks race for " + name());
    if (writes) {
        one.writer = thread;
        one.writing_block = block;
    } else {
        one.reader = other(one.reader, thread) ? SEVERAL : thread;
        one.reading_block = other(one.reading_block, block) ? SEVERAL : block;
    }
}

void touch(const void* pointer, size_t size, bool writes) {
    if (!is_watching) return;
    const uintptr_t at = (uintptr_t)pointer;
    if (is_on_a_stack(at)) return;
    for (Array& array : arrays) {
        if (at < array.first || at + size > array.last) continue;
        for (size_t place = (at - array.first) / 4; place * 4 < at + size - array.first; ++place)
            touch(array, place, writes);
        return;
    }
    const bool is_own = at >= (uintptr_t)&__ehdr_start && at < (uintptr_t)&_end;
    if (writes || !is_own) found("what no array holds is touched");
}

void touch_aligned(const void* at, size_t size, bool writes) {
    if (is_watching && (uintptr_t)at % size) found("several numbers begin at an odd place");
    touch(at, size, writes);
}

void enter() {
    body(body_arguments);
    running->is_done = true;
    swapcontext(&running->context, &scheduler);
}

bool are_together(const std::vector<Fiber>& fibers, unsigned first, unsigned last) {
    const Fiber& one = fibers[first];
    return std::all_of(fibers.begin() + first, fibers.begin() + last, [&](const Fiber& other) {
        return other.is_done == one.is_done &&
               (one.is_done || (other.line == one.line && other.size == one.size));
    });
}

// Every thread runs to its next __syncthreads before any runs on, and those of a warp to its next
// shuffle.
void run_block_of_fibers(unsigned threads) {
    static std::vector<Fiber> fibers;
    fibers.resize(threads);
    for (Fiber& fiber : fibers) {
        fiber.is_done = false;
        fiber.size = 0;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
    }
    bool all_go = true;
    for (;;) {
        for (unsigned i = 0; i < threads; ++i) {
            running = &fibers[i];
            threadIdx.x = i;
            if (running->is_done || !(all_go || running->size)) continue;
            running->size = 0;
            swapcontext(&scheduler, &running->context);
        }
        all_go = true;
        for (unsigned first = 0; first < threads; first += WARP) {
            const unsigned last = std::min(first + WARP, threads);
            for (threadIdx.x = first; threadIdx.x < last; ++threadIdx.x) {
                Fiber& one = fibers[threadIdx.x];
                const unsigned partner = first + ((threadIdx.x - first) ^ one.partner);
                if (!one.size) continue;
                all_go = false;
                if (partner >= last || !are_together(fibers, first, last))
                    found("lanes of a warp wait at different places");
                else
                    memcpy(one.taken, fibers[partner].given, one.size);
            }
        }
        if (!all_go) continue;
        threadIdx.x = 0;
        if (!are_together(fibers, 0, threads)) found("threads of a block wait at different places");
        ++phase;
        if (std::all_of(fibers.begin(), fibers.end(), [](auto& one) { return one.is_done; })) break;
    }
    running = nullptr;
}

void add(const char* name, const void* first, size_t size, bool is_shared, bool begins_empty) {
    const uintptr_t at = (uintptr_t)first;
    arrays.push_back({at, at + size, name, is_shared, begins_empty, {}});
    arrays.back().touched.resize((size + 3) / 4);
}

}  // namespace

void wait_here(int line) {
    running->line = line;
    swapcontext(&running->context, &scheduler);
}

// What __shfl_xor_sync does.
void exchange(unsigned lanes, void* number, unsigned size, int lane_mask, int line) {
    if (lanes != ~0u) found("a shuffle does not name all lanes");
    running->size = size;
    running->partner = lane_mask;
    memcpy(running->given, number, size);
    wait_here(line);
    memcpy(number, running->taken, size);
}

// Of the next grid: an array that it is given, and whether that has no numbers yet.
extern "C" void watch_array(const char* name, const void* first, size_t size, bool begins_empty) {
    is_watching = true;
    add(name, first, size, false, begins_empty);
}

// What was found, or an empty text.
const char* run_grid(
    unsigned blocks, unsigned threads, bool meets, void (*kernel)(void*), void* arguments
) {
    fault.clear();
    phase = 1;
    body = kernel;
    body_arguments = arguments;
    gridDim.x = blocks;
    blockDim.x = threads;
    callers_stack = (uintptr_t)__builtin_frame_address(0);
    const size_t shared = &__stop_shared_memory - &__start_shared_memory;
    if (is_watching && shared) add("shared memory", &__start_shared_memory, shared, true, true);
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x, ++phase) {
        if (meets) {
            run_block_of_fibers(threads);
        } else {
            for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel(arguments);
        }
    }
    arrays.clear();
    is_watching = false;
    return fault.c_str();
}

extern "C" {
void __tsan_init() {}
#define ACCESS(size)                                                             \
    void __tsan_read##size(void* at) { touch_aligned(at, size, false); }         \
    void __tsan_write##size(void* at) { touch_aligned(at, size, true); }         \
    void __tsan_unaligned_read##size(void* at) { touch(at, size, false); }       \
    void __tsan_unaligned_write##size(void* at) { touch(at, size, true); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(void* at, size_t size) { touch(at, size, false); }
void __tsan_write_range(void* at, size_t size) { touch(at, size, true); }
}
