#ifndef LOTTERY_POOLS_PRELUDE
#define LOTTERY_POOLS_PRELUDE
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A vec is as many floats as one register of the target holds; LANES is 1 in plain C. */
#if defined(PLAIN)
#define LANES 1
#elif defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#elif defined(__ARM_NEON) || defined(__SSE2__)
#define LANES 4
#else
#define LANES 1
#endif
#if LANES >= 8
#include <immintrin.h>
#endif

static inline float relu_one(float x) { return x <= 0.0f ? 0.0f : x; } /* a NaN stays, as in PyTorch */
static inline float gelu_one(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
static inline float gelu_tanh_one(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

static inline float plus_one(float x, float y) { return x + y; }
static inline float largest_one(float x, float y) { return y > x || y != y ? y : x; }

#if LANES == 1
typedef float vec;
static inline vec load(const float *p) { return *p; }
static inline void store(float *p, vec v) { *p = v; }
static inline vec splat(float x) { return x; }
static inline vec plus(vec v, vec w) { return v + w; }
static inline vec largest(vec v, vec w) { return largest_one(v, w); }
static inline vec relu(vec v) { return relu_one(v); }
static inline vec gelu(vec v) { return gelu_one(v); }
static inline vec gelu_tanh(vec v) { return gelu_tanh_one(v); }
#else
typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int32_t bits __attribute__((vector_size(LANES * 4)));
typedef float vec_at __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
static inline vec load(const float *p) { return *(const vec_at *)p; }
static inline void store(float *p, vec v) { *(vec_at *)p = v; }
static inline vec splat(float x) { return x - (vec){0}; }
static inline vec plus(vec v, vec w) { return v + w; }
static inline vec largest(vec v, vec w)
{
    const bits take = (bits)(w > v) | (bits)(w != w);
    return (vec)(((bits)w & take) | ((bits)v & ~take));
}
#if defined(__AVX512F__) && LANES == 16 /* one instruction, which gives its second operand where that is a NaN */
static inline vec relu(vec v) { return (vec)_mm512_max_ps(_mm512_setzero_ps(), (__m512)v); }
#define GATHER
/* The floats at p, p + apart, …, `count` of them, and zeros. */
static inline vec gather(const float *p, int apart, int count)
{
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(apart));
    return (vec)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), (__mmask16)((1u << count) - 1), places, p, 4);
}
#elif defined(__AVX__) && LANES == 8
static inline vec relu(vec v) { return (vec)_mm256_max_ps(_mm256_setzero_ps(), (__m256)v); }
#else
static inline vec relu(vec v) { return (vec)((bits)v & ~(bits)(v <= (vec){0})); }
#endif
static inline vec gelu(vec v)
{
    for (int lane = 0; lane < LANES; lane++)
        v[lane] = gelu_one(v[lane]);
    return v;
}
static inline vec gelu_tanh(vec v)
{
    for (int lane = 0; lane < LANES; lane++)
        v[lane] = gelu_tanh_one(v[lane]);
    return v;
}
#endif
