/* A small program that calls itself: a seed for the fuzzer, with whatever tables and debugging information it is compiled. */
static volatile int counter;

__attribute__((noinline)) static int inner(int depth) {
    volatile char room[64];
    room[depth & 63] = 1;
    return depth ? inner(depth - 1) + room[depth & 63] : counter++;
}

__attribute__((noinline)) int outer(int depth) { return inner(depth) + depth; }

void _start(void) {
    for (;;) outer(5);
}
