// What compile_c compiles: a word counter with a hash table, a sorted list and a small expression parser; some loops for the optimiser.
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 1024

struct entry {
    char *word;
    unsigned long count;
    struct entry *next;
};

static struct entry *table[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint32_t hash(const char *word) {
    uint32_t value = 2166136261u;
    for (; *word; word++) value = (value ^ (unsigned char)*word) * 16777619u;
    return value;
}

static struct entry *lookup(const char *word) {
    struct entry **place = &table[hash(word) % BUCKETS];
    for (struct entry *one = *place; one; one = one->next)
        if (strcmp(one->word, word) == 0) return one;
    struct entry *fresh = calloc(1, sizeof(*fresh));
    if (!fresh || !(fresh->word = strdup(word))) {
        fprintf(stderr, "out of memory: %s\n", strerror(errno));
        exit(1);
    }
    fresh->next = *place;
    return *place = fresh;
}

void count_words(const char *text) {
    char word[256];
    size_t length = 0;
    for (;; text++) {
        if (isalnum((unsigned char)*text) && length + 1 < sizeof(word)) {
            word[length++] = (char)tolower((unsigned char)*text);
            continue;
        }
        if (length) {
            word[length] = 0;
            pthread_mutex_lock(&lock);
            lookup(word)->count++;
            pthread_mutex_unlock(&lock);
            length = 0;
        }
        if (!*text) return;
    }
}

static int by_count(const void *left, const void *right) {
    const struct entry *a = *(struct entry *const *)left, *b = *(struct entry *const *)right;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return strcmp(a->word, b->word);
}

size_t sorted_words(struct entry **out, size_t room) {
    size_t found = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *one = table[i]; one && found < room; one = one->next) out[found++] = one;
    qsort(out, found, sizeof(*out), by_count);
    return found;
}

struct parser {
    const char *at;
    int failed;
};

static double sum(struct parser *parser);

static char next(struct parser *parser) {
    while (isspace((unsigned char)*parser->at)) parser->at++;
    return *parser->at;
}

static double atom(struct parser *parser) {
    char *end;
    double value;
    switch (next(parser)) {
        case '(':
            parser->at++;
            value = sum(parser);
            if (next(parser) == ')')
                parser->at++;
            else
                parser->failed = 1;
            return value;
        case '-':
            parser->at++;
            return -atom(parser);
        case 's':
            if (strncmp(parser->at, "sqrt", 4) == 0) {
                parser->at += 4;
                return sqrt(atom(parser));
            }
            /* fall through */
        default:
            value = strtod(parser->at, &end);
            if (end == parser->at) parser->failed = 1;
            parser->at = end;
            return value;
    }
}

static double product(struct parser *parser) {
    double value = atom(parser);
    for (char sign = next(parser); sign == '*' || sign == '/'; sign = next(parser)) {
        parser->at++;
        double other = atom(parser);
        value = sign == '*' ? value * other : value / other;
    }
    return value;
}

static double sum(struct parser *parser) {
    double value = product(parser);
    for (char sign = next(parser); sign == '+' || sign == '-'; sign = next(parser)) {
        parser->at++;
        double other = product(parser);
        value = sign == '+' ? value + other : value - other;
    }
    return value;
}

int evaluate(const char *text, double *result) {
    struct parser parser = {text, 0};
    *result = sum(&parser);
    return parser.failed || next(&parser) ? -1 : 0;
}

void multiply(size_t size, const double *left, const double *right, double *out) {
    for (size_t row = 0; row < size; row++)
        for (size_t column = 0; column < size; column++) {
            double cell = 0;
            for (size_t i = 0; i < size; i++) cell += left[row * size + i] * right[i * size + column];
            out[row * size + column] = cell;
        }
}

void smooth(float *values, size_t count, unsigned rounds) {
    while (rounds--)
        for (size_t i = 1; i + 1 < count; i++) values[i] = 0.25f * values[i - 1] + 0.5f * values[i] + 0.25f * values[i + 1];
}

uint64_t fold(const uint8_t *bytes, size_t count) {
    uint64_t sum = 0, weighted = 0;
    for (size_t i = 0; i < count; i++) {
        sum += bytes[i];
        weighted += sum ^ (uint64_t)bytes[i] << (i & 31);
    }
    return weighted * 0x9e3779b97f4a7c15u + sum;
}
