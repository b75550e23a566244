# A C project of 20 files built by make -j2, run, touched and rebuilt; one C++ file with the standard library.
set -e
mkdir /tmp/project && cd /tmp/project
for i in $(seq 20); do
    cat >file$i.c <<C
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "all.h"
static int compare(const void* a, const void* b) { return *(const int*)a - *(const int*)b; }
int function$i(int n) {
    int* v = malloc(n * sizeof *v); unsigned x = $i;
    for (int k = 0; k < n; k++) { x = x * 1664525u + 1013904223u; v[k] = x >> 8; }
    qsort(v, n, sizeof *v, compare);
    int r = v[n / 2] % 1000; free(v);
    return r;
}
C
    echo "int function$i(int n);"
done >all.h
{ echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) {'; for i in $(seq 20); do echo "printf(\"%d\\n\", function$i(1000));"; done; echo '}'; } >main.c
cat >Makefile <<'M'
objects := $(patsubst %.c,%.o,$(wildcard *.c))
program: $(objects) ; @$(CC) -o $@ $^ -lm
%.o: %.c all.h ; @$(CC) -O2 -Wall -c -o $@ $<
M
make -j2 && ./program | sha256sum
touch file7.c && make -j2 -n | wc -l && make -j2 && make | sed 's/`/'"'/"
cat >one.cpp <<'C'
#include <algorithm>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
int main() {
    std::map<std::string, int> counts;
    for (int i = 0; i < 1000; i++) counts["key" + std::to_string(i % 37)]++;
    std::vector<long> sums(4);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++) threads.emplace_back([&, t] { for (int i = 0; i < 100000; i++) sums[t] += i ^ t; });
    for (auto& thread : threads) thread.join();
    try { counts.at("none"); } catch (const std::out_of_range&) { std::cout << "caught\n"; }
    for (long sum : sums) std::cout << sum << ' ';
    std::cout << counts["key7"] << '\n';
}
C
g++ -O1 -pthread -o one one.cpp && ./one
