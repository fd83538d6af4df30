/* SPDX-License-Identifier: BSD-3-Clause */
/* Acquisition software in C: its own scan control, descriptor and journal, probewise decides where to go. */
#include <math.h>
#include <probewise.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 60, KEPT = 256 };

typedef struct {
  int beam_on, made_safe, scanned, fail_at;
  double best;
  probewise_step journal[KEPT];
  int kept;
} microscope;

/* A bright pillar at (0.7, 0.3) of the field, with a little structure in each frame. */
static double brightness(double y, double x) {
  return 10.0 * exp(-((y - 0.7) * (y - 0.7) + (x - 0.3) * (x - 0.3)) / 0.02);
}

static int32_t scan(void* user, const probewise_visit* visit, float* counts) {
  microscope* it = user;
  size_t i;
  it->beam_on = 1;
  if (++it->scanned == it->fail_at) return 17; /* the beam is still on: make_safe has to be called */
  for (i = 0; i < visit->samples; ++i)
    counts[i] = (float)(brightness(visit->yx[2 * i], visit->yx[2 * i + 1]) + (double)(i % 7));
  it->beam_on = 0;
  return 0;
}

static int32_t describe(void* user, const probewise_visit* visit, const float* counts, double* value) {
  microscope* it = user;
  double sum = 0;
  size_t i;
  for (i = 0; i < visit->samples; ++i) sum += counts[i];
  *value = sum / (double)visit->samples;
  if (*value > it->best) it->best = *value;
  return 0;
}

static int32_t journal(void* user, const probewise_step* step) {
  microscope* it = user;
  if (it->kept == KEPT) return 1;
  it->journal[it->kept++] = *step;
  return 0;
}

static void make_safe(void* user) {
  microscope* it = user;
  it->beam_on = 0;
  ++it->made_safe;
}

static int failures = 0;
#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      printf("line %d: %s; %s\n", __LINE__, #condition, message);     \
      ++failures;                                                     \
    }                                                                 \
  } while (0)

int main(void) {
  static microscope first, second;
  char message[256] = "";
  probewise_loop_options options;
  probewise_loop *loop = NULL, *again = NULL;
  probewise_host host;
  uint64_t made = 0;
  int i;

  CHECK(probewise_abi_version() >= PROBEWISE_ABI_VERSION);
  probewise_loop_defaults(&options);
  options.scan_rows = options.scan_cols = 16;
  CHECK(probewise_loop_create(&options, &loop, message, sizeof message) == PROBEWISE_OK);

  memset(&host, 0, sizeof host);
  host.struct_size = sizeof host;
  host.user = &first;
  host.scan = scan;
  host.describe = describe;
  host.journal = journal;
  host.make_safe = make_safe;
  CHECK(probewise_loop_run(loop, &host, STEPS, &made, message, sizeof message) == PROBEWISE_OK);
  CHECK(made == STEPS && first.kept == STEPS && first.made_safe == 1 && !first.beam_on);
  CHECK(first.best > 10.0); /* the pillar was found: everything else is at most 3 */

  /* A scan that fails ends the run with the beam safe; a new loop that is told the journal goes on where it was. */
  host.user = &second;
  second.fail_at = 31;
  CHECK(probewise_loop_create(&options, &again, message, sizeof message) == PROBEWISE_OK);
  CHECK(probewise_loop_run(again, &host, STEPS, &made, message, sizeof message) == PROBEWISE_SCAN);
  CHECK(made == 30 && second.made_safe == 1 && !second.beam_on && strstr(message, "17") != NULL);
  probewise_loop_destroy(again);
  CHECK(probewise_loop_create(&options, &again, message, sizeof message) == PROBEWISE_OK);
  for (i = 0; i < second.kept; ++i)
    CHECK(probewise_loop_replay(again, &second.journal[i], message, sizeof message) == PROBEWISE_OK);
  CHECK(probewise_loop_run(again, &host, STEPS - 30, &made, message, sizeof message) == PROBEWISE_OK);
  CHECK(second.kept == STEPS);
  for (i = 0; i < STEPS && i < second.kept; ++i) CHECK(first.journal[i].site == second.journal[i].site);

  options.side_nm = -1.0;
  {
    probewise_loop* none = loop;
    CHECK(probewise_loop_create(&options, &none, message, sizeof message) == PROBEWISE_ARGUMENT);
    CHECK(none == NULL && strstr(message, "side_nm") != NULL);
  }
  probewise_loop_destroy(again);
  probewise_loop_destroy(loop);
  printf(failures ? "%d failures\n" : "%d steps of C\n", failures ? failures : STEPS);
  return failures != 0;
}
