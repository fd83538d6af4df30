/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * C interface of probewise: the loop, the Gaussian process, scan codes, frames, atoms and patches, for C, C#, LabVIEW,
 * Delphi and whatever else can call a C function.
 *
 * Errors      Each function that can fail returns a probewise_status and, unless `message` is null, writes a sentence
 *             of at most `message_size` - 1 bytes, UTF-8, and a zero. Nothing is written on PROBEWISE_OK. No exception
 *             leaves a function; one that a callback throws comes back as the status of that callback.
 * Ownership   What a *_create makes belongs to the caller until the matching *_destroy, which takes null. Arrays belong
 *             to the caller and are read or written during the call only. `yx` of a visit belongs to the loop and holds
 *             until its next visit.
 * Threads     Nothing is global but the core's own threads (PROBEWISE_THREADS, default 1). Different handles may be
 *             used in different threads at the same time. One handle is for one thread at a time: a second call
 *             meanwhile is refused with PROBEWISE_BUSY. Only probewise_loop_stop may be called at any time. Callbacks
 *             come on the thread that called.
 * Units       Lengths in nm, as names say; positions (y, x) in fractions of the field, from its outer edges; values in
 *             units of your own; indices from 0, flat index = row * cols + col.
 * Structures  `struct_size` is sizeof of the structure as you compiled it. Fields are only ever added at the end.
 */
#ifndef PROBEWISE_H
#define PROBEWISE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(PROBEWISE_BUILDING)
#define PROBEWISE_API __declspec(dllexport)
#else
#define PROBEWISE_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define PROBEWISE_API __attribute__((visibility("default")))
#else
#define PROBEWISE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Of this header. Compare with probewise_abi_version(): functions and fields of an older number are still there. */
#define PROBEWISE_ABI_VERSION 1

typedef int32_t probewise_status;
enum {
  PROBEWISE_OK = 0,
  PROBEWISE_INTERNAL = 1,  /* a fault of the library */
  PROBEWISE_ARGUMENT = 2,  /* the message names the argument, what came and what was expected */
  PROBEWISE_SCAN = 3,      /* the scan callback failed, or too many bad frames running */
  PROBEWISE_DESCRIBE = 4,  /* the describe callback failed */
  PROBEWISE_JOURNAL = 5,   /* the journal callback failed */
  PROBEWISE_STOPPED = 6,   /* by probewise_loop_stop */
  PROBEWISE_EXHAUSTED = 7, /* no site is free */
  PROBEWISE_NUMERIC = 8,   /* a covariance that cannot be factored, jitter included */
  PROBEWISE_MEMORY = 9,
  PROBEWISE_BUSY = 10 /* the handle is in use by another thread, or by the call that this callback is in */
};

typedef int32_t probewise_kernel;
enum {
  PROBEWISE_RBF = 0,
  PROBEWISE_MATERN12 = 1,
  PROBEWISE_MATERN32 = 2,
  PROBEWISE_MATERN52 = 3,
  PROBEWISE_RQ = 4,
  PROBEWISE_PRODUCT_MATERN12 = 5,
  PROBEWISE_PRODUCT_MATERN32 = 6,
  PROBEWISE_PRODUCT_MATERN52 = 7
};

typedef int32_t probewise_policy;
enum {
  PROBEWISE_UCB = 0,     /* mean + beta * deviation */
  PROBEWISE_EI = 1,      /* expected improvement over the best mean at a told site, xi */
  PROBEWISE_LOG_EI = 2,  /* its logarithm */
  PROBEWISE_PI = 3,      /* probability of improvement */
  PROBEWISE_STRADDLE = 4, /* beta * deviation - |mean - threshold| */
  PROBEWISE_TARGET = 5,  /* probability of low to high */
  PROBEWISE_MAX_STD = 6  /* deviation */
};

/* Why a frame is refused, bits. */
enum {
  PROBEWISE_NOT_FINITE = 1,
  PROBEWISE_SATURATED = 2,
  PROBEWISE_CONSTANT = 4,
  PROBEWISE_DUPLICATE = 8, /* of the frame before, which was taken elsewhere */
  PROBEWISE_BY_HOST = 16   /* whatever the host finds wrong */
};

PROBEWISE_API uint32_t probewise_abi_version(void);
PROBEWISE_API const char* probewise_version(void); /* such as "0.1.0", never freed */

/* ---- The loop: visit, scan, judge, tell or refuse, and again. It moves nothing itself and keeps no time. The same
 * options and the same steps give the same visits. ---- */

typedef struct probewise_loop probewise_loop;

typedef struct probewise_loop_options {
  uint32_t struct_size;
  probewise_kernel kernel;
  probewise_policy policy;
  uint32_t start; /* sites chosen before any value counts, each where the deviation is largest */
  uint32_t rows, cols; /* sites over the field */
  uint32_t border;     /* rings of sites at the edge that are never scanned */
  uint32_t scan_rows, scan_cols;
  uint32_t retries;            /* of a site whose frame was refused */
  uint32_t bad_frames_running; /* so many end the loop */
  uint32_t reserved;           /* 0 */
  uint64_t seed;               /* breaks ties */
  double fov_nm_y, fov_nm_x;   /* of the field */
  double side_nm;              /* of a site, at most the pitch */
  double lengthscale_pitches;  /* in units of the smaller pitch */
  double noise;                /* variance of a value over the variance of all values */
  double beta, xi;             /* in deviations of the values */
  double threshold, low, high; /* in values */
  double saturation;           /* count at which the detector saturates; infinity: unknown */
  double max_saturated;        /* largest share of such counts, 0 to 1 */
} probewise_loop_options;

typedef struct probewise_visit {
  uint64_t step;
  int64_t site;
  const double* yx; /* (scan_rows * scan_cols, 2) fractions of the field, line by line */
  size_t samples;   /* scan_rows * scan_cols */
} probewise_visit;

/* What to keep of a step, so that probewise_loop_replay can bring a new loop to the same state. */
typedef struct probewise_step {
  uint64_t step;
  int64_t site;
  double value; /* NaN of a refused frame */
  uint64_t digest;
  uint32_t refusal; /* bits; 0: measured */
  uint32_t reserved;
} probewise_step;

/* Fills all fields, struct_size too, with the defaults. */
PROBEWISE_API void probewise_loop_defaults(probewise_loop_options* options);
PROBEWISE_API probewise_status probewise_loop_create(const probewise_loop_options* options, probewise_loop** loop,
                                                     char* message, size_t message_size);
PROBEWISE_API void probewise_loop_destroy(probewise_loop* loop);

/* The next site, or again the one that waits. PROBEWISE_EXHAUSTED when none is free; PROBEWISE_SCAN, once, after
 * bad_frames_running refusals without a value between them. */
PROBEWISE_API probewise_status probewise_loop_visit(probewise_loop* loop, probewise_visit* visit, char* message,
                                                    size_t message_size);
/* `refusal` = bits of what is wrong with the frame of the site that waits; `samples` counts. */
PROBEWISE_API probewise_status probewise_loop_judge(probewise_loop* loop, const float* counts, size_t samples,
                                                    uint32_t* refusal, char* message, size_t message_size);
/* The value of the site that waits. `step` may be null. */
PROBEWISE_API probewise_status probewise_loop_tell(probewise_loop* loop, double value, probewise_step* step,
                                                   char* message, size_t message_size);
/* The frame is bad: the site waits again or, its retries used up, is left out. `step` may be null. */
PROBEWISE_API probewise_status probewise_loop_refuse(probewise_loop* loop, uint32_t refusal, probewise_step* step,
                                                     char* message, size_t message_size);
/* A step of an earlier loop with the same options. */
PROBEWISE_API probewise_status probewise_loop_replay(probewise_loop* loop, const probewise_step* step, char* message,
                                                     size_t message_size);
/* Posterior mean and deviation of the values, rows * cols each. */
PROBEWISE_API probewise_status probewise_loop_maps(probewise_loop* loop, double* mean, double* deviation, size_t sites,
                                                   char* message, size_t message_size);

/* scan, describe and journal return 0, or a number of your own that the message then names. */
typedef struct probewise_host {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  void* user;
  /* Fills `counts` (visit->samples); the beam at rest afterwards. What is left unwritten is NaN and refused. */
  int32_t (*scan)(void* user, const probewise_visit* visit, float* counts);
  int32_t (*describe)(void* user, const probewise_visit* visit, const float* counts, double* value);
  int32_t (*journal)(void* user, const probewise_step* step); /* before the next scan */
  void (*make_safe)(void* user); /* blank the beam; called once, on every way out of probewise_loop_run */
} probewise_host;

/* `steps` steps with callbacks. `made` = how many became steps, also after an error. */
PROBEWISE_API probewise_status probewise_loop_run(probewise_loop* loop, const probewise_host* host, uint64_t steps,
                                                  uint64_t* made, char* message, size_t message_size);
/* From any thread: the run ends before its next scan. It does not wait, and it counts once. */
PROBEWISE_API void probewise_loop_stop(probewise_loop* loop);

/* ---- The Gaussian process with its choice, for loops of your own. It never standardises. ---- */

typedef struct probewise_surrogate probewise_surrogate;

/* Candidates on a lattice, spacing (dy, dx) in the unit of the lengthscales. Maps in float64. */
PROBEWISE_API probewise_status probewise_surrogate_create(size_t rows, size_t cols, double dy, double dx,
                                                          probewise_kernel kernel, double lengthscale_y,
                                                          double lengthscale_x, double variance, double noise,
                                                          double mean, probewise_surrogate** surrogate, char* message,
                                                          size_t message_size);
PROBEWISE_API void probewise_surrogate_destroy(probewise_surrogate* surrogate);
/* Room for `rows` values, so that neither tell nor choose allocates before they are reached. */
PROBEWISE_API probewise_status probewise_surrogate_reserve(probewise_surrogate* surrogate, size_t rows, char* message,
                                                           size_t message_size);
/* All `count` values or, on an error, none. */
PROBEWISE_API probewise_status probewise_surrogate_tell(probewise_surrogate* surrogate, const int64_t* indices,
                                                        const double* values, size_t count, char* message,
                                                        size_t message_size);
/* The best free candidate, or PROBEWISE_EXHAUSTED. `visited` (rows * cols, null: none) are never taken, told ones
 * neither. Ties are broken by (seed, step). */
PROBEWISE_API probewise_status probewise_surrogate_choose(probewise_surrogate* surrogate, probewise_policy policy,
                                                          double beta, double xi, double threshold, double low,
                                                          double high, const uint8_t* visited, uint64_t seed,
                                                          uint64_t step, int64_t* chosen, char* message,
                                                          size_t message_size);
PROBEWISE_API probewise_status probewise_surrogate_maps(probewise_surrogate* surrogate, double* mean, double* deviation,
                                                        size_t candidates, char* message, size_t message_size);
PROBEWISE_API probewise_status probewise_surrogate_log_likelihood(probewise_surrogate* surrogate, double* value,
                                                                  char* message, size_t message_size);

/* ---- Scan, frames, atoms, patches ---- */

/* codes[i] = round(fractions[i] * (2^bits - 1)); bits 1 to 16; a fraction outside 0..1 is an error. */
PROBEWISE_API probewise_status probewise_dac_codes(const double* fractions, size_t count, int32_t bits, uint16_t* codes,
                                                   char* message, size_t message_size);

/* Centres of the 4-connected components of probability > threshold, weighted by it: `yx` (capacity, 2) in pixels,
 * `score` (capacity) their mean probability. `found` may be larger than `capacity`: the rest was left out. */
PROBEWISE_API probewise_status probewise_find_atoms(const float* probability, size_t rows, size_t cols, float threshold,
                                                    double* yx, double* score, size_t capacity, size_t* found,
                                                    char* message, size_t message_size);

/* Square windows of whole pixels about each centre (count, 2) into `patches` (count, side, side), one after the other;
 * `kept` (count) receives their numbers. Windows that do not lie wholly inside are left out. */
PROBEWISE_API probewise_status probewise_extract_patches(const float* image, size_t rows, size_t cols,
                                                         const double* centres, size_t count, size_t side,
                                                         float* patches, int64_t* kept, size_t* kept_count,
                                                         char* message, size_t message_size);

#ifdef __cplusplus
}
#endif

#endif
