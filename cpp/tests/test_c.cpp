// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "probewise.h"
#include "probewise/engine.hpp"

namespace {

// What callers in other languages have written down; a change that is not at an end is a new ABI number.
static_assert(PROBEWISE_ABI_VERSION == 1);
static_assert(sizeof(probewise_loop_options) == 152 && offsetof(probewise_loop_options, seed) == 48);
static_assert(offsetof(probewise_loop_options, fov_nm_y) == 56 &&
              offsetof(probewise_loop_options, max_saturated) == 144);
static_assert(sizeof(probewise_visit) == 32 && offsetof(probewise_visit, yx) == 16);
static_assert(sizeof(probewise_step) == 40 && offsetof(probewise_step, refusal) == 32);
static_assert(sizeof(probewise_host) == 48 && offsetof(probewise_host, make_safe) == 40);

struct Host {
  probewise_loop* loop = nullptr;
  int safe = 0, steps = 0, fails_in = 0;
  int32_t inner = -1;
};

int32_t scan(void* user, const probewise_visit* visit, float* counts) {
  auto& host = *static_cast<Host*>(user);
  if (host.fails_in == 1) throw std::runtime_error("coil");
  probewise_visit other;
  host.inner = probewise_loop_visit(host.loop, &other, nullptr, 0);  // from within the run
  for (std::size_t i = 0; i < visit->samples; ++i) counts[i] = static_cast<float>(visit->step * 1000 + i);
  return 0;
}

int32_t describe(void* user, const probewise_visit* visit, const float*, double* value) {
  if (static_cast<Host*>(user)->fails_in == 2) return 7;
  *value = static_cast<Host*>(user)->fails_in == 3 ? std::nan("") : visit->yx[0];
  return 0;
}

int32_t journal(void* user, const probewise_step*) {
  auto& host = *static_cast<Host*>(user);
  if (host.fails_in == 4) return -1;
  if (host.fails_in == 5) probewise_loop_stop(host.loop);
  ++host.steps;
  return 0;
}

void make_safe(void* user) { ++static_cast<Host*>(user)->safe; }

struct Loop {
  probewise_loop* handle = nullptr;
  explicit Loop(uint32_t rows = 10) {
    probewise_loop_options options;
    probewise_loop_defaults(&options);
    options.rows = rows;
    options.fov_nm_y = 20.0 * rows;
    options.scan_rows = options.scan_cols = 4;
    REQUIRE(probewise_loop_create(&options, &handle, nullptr, 0) == PROBEWISE_OK);
  }
  ~Loop() { probewise_loop_destroy(handle); }
};

}  // namespace

TEST_CASE("a run in C: each failure has its status, its sentence, and leaves the beam safe") {
  const int32_t expected[] = {PROBEWISE_OK,       PROBEWISE_SCAN,    PROBEWISE_DESCRIBE,
                              PROBEWISE_DESCRIBE, PROBEWISE_JOURNAL, PROBEWISE_STOPPED};
  const char* words[] = {"", "scan: coil", "describe returned 7", "finite", "journal returned -1", "stopped"};
  for (int which = 0; which < 6; ++which) {
    CAPTURE(which);
    const Loop loop;
    Host state;
    state.loop = loop.handle;
    state.fails_in = which;
    const probewise_host host{sizeof(probewise_host), 0, &state, scan, describe, journal, make_safe};
    char message[80] = "";
    uint64_t made = 99;
    CHECK(probewise_loop_run(loop.handle, &host, 5, &made, message, sizeof message) == expected[which]);
    CHECK(std::string(message).find(words[which]) != std::string::npos);
    CHECK(state.safe == 1);
    CHECK(made == static_cast<uint64_t>(state.steps));
    CHECK(state.steps == (which == 0 ? 5 : which == 5 ? 1 : 0));
    if (which != 1) CHECK(state.inner == PROBEWISE_BUSY);
    state.fails_in = 0;  // and it goes on
    CHECK(probewise_loop_run(loop.handle, &host, 2, &made, message, sizeof message) == PROBEWISE_OK);
  }
}

TEST_CASE("a host without a way to make the beam safe is refused before anything is scanned") {
  const Loop loop;
  Host state;
  state.loop = loop.handle;
  probewise_host host{sizeof(probewise_host), 0, &state, scan, describe, journal, nullptr};
  char message[80];
  CHECK(probewise_loop_run(loop.handle, &host, 5, nullptr, message, sizeof message) == PROBEWISE_ARGUMENT);
  CHECK(std::string(message).find("make_safe") != std::string::npos);
  host.make_safe = make_safe;
  host.struct_size = 8;
  CHECK(probewise_loop_run(loop.handle, &host, 5, nullptr, message, sizeof message) == PROBEWISE_ARGUMENT);
  CHECK((state.steps == 0 && state.safe == 0));
}

TEST_CASE("stop from another thread ends a run that would not end") {
  const Loop loop(4000);
  Host state;
  state.loop = loop.handle;
  std::atomic<bool> begun{false};
  struct Both {
    Host* state;
    std::atomic<bool>* begun;
  } both{&state, &begun};
  const probewise_host host{
      sizeof(probewise_host),
      0,
      &both,
      [](void* user, const probewise_visit* visit, float* counts) {
        static_cast<Both*>(user)->begun->store(true);
        return scan(static_cast<Both*>(user)->state, visit, counts);
      },
      [](void* user, const probewise_visit* visit, const float* counts, double* value) {
        return describe(static_cast<Both*>(user)->state, visit, counts, value);
      },
      [](void* user, const probewise_step* step) { return journal(static_cast<Both*>(user)->state, step); },
      [](void* user) { make_safe(static_cast<Both*>(user)->state); }};
  std::thread other([&] {
    while (!begun.load()) std::this_thread::yield();
    probewise_loop_stop(loop.handle);
  });
  CHECK(probewise_loop_run(loop.handle, &host, 80000, nullptr, nullptr, 0) == PROBEWISE_STOPPED);
  other.join();
  CHECK(state.safe == 1);
}

TEST_CASE("the surrogate in C chooses as the engine does") {
  probewise_surrogate* surrogate = nullptr;
  REQUIRE(probewise_surrogate_create(9, 8, 1.0, 1.0, PROBEWISE_MATERN52, 2.0, 2.0, 1.0, 1e-2, 0.0, &surrogate, nullptr,
                                     0) == PROBEWISE_OK);
  probewise::Engine engine(probewise::GaussianProcess(probewise::Candidates::lattice(9, 8, 1.0, 1.0),
                                                      probewise::Kernel::matern52, {{2.0, 2.0}, 1.0, 1e-2}, 0.0, 1.0,
                                                      probewise::Precision::float64));
  const std::vector<int64_t> indices{3, 40, 66};
  const std::vector<double> values{1.0, -0.5, 0.25};
  CHECK(probewise_surrogate_reserve(surrogate, 10, nullptr, 0) == PROBEWISE_OK);
  CHECK(probewise_surrogate_tell(surrogate, indices.data(), values.data(), 3, nullptr, 0) == PROBEWISE_OK);
  engine.surrogate().tell(indices, values);
  std::vector<double> mean(72), deviation(72);
  CHECK(probewise_surrogate_maps(surrogate, mean.data(), deviation.data(), 72, nullptr, 0) == PROBEWISE_OK);
  for (std::size_t i = 0; i < 72; ++i) CHECK(mean[i] == engine.surrogate().mean()[i]);
  double likelihood = 0.0;
  CHECK(probewise_surrogate_log_likelihood(surrogate, &likelihood, nullptr, 0) == PROBEWISE_OK);
  CHECK(likelihood == engine.surrogate().log_marginal_likelihood());
  for (int32_t policy = PROBEWISE_UCB; policy <= PROBEWISE_MAX_STD; ++policy) {
    const char* names[] = {"ucb", "ei", "log-ei", "pi", "straddle", "target", "max-std"};
    int64_t chosen = -1, expected = -1;
    CHECK(probewise_surrogate_choose(surrogate, policy, 1.5, 0.1, 0.2, 0.3, 0.6, nullptr, 5, 7, &chosen, nullptr, 0) ==
          PROBEWISE_OK);
    probewise::ChoiceRequest request;
    request.policy = probewise::parse_policy(names[policy]);
    request.parameters = {1.5, engine.surrogate().largest_told_mean(), 0.1, 0.2, 0.3, 0.6};
    request.key = {5, 7};
    engine.choose(request, {&expected, 1});
    CHECK(chosen == expected);
  }
  const std::vector<uint8_t> all(72, 1);
  int64_t chosen = 0;
  char message[128];
  CHECK(probewise_surrogate_choose(surrogate, PROBEWISE_UCB, 1, 0, 0, 0, 0, all.data(), 0, 0, &chosen, message,
                                   sizeof message) == PROBEWISE_EXHAUSTED);
  CHECK(probewise_surrogate_choose(surrogate, 99, 1, 0, 0, 0, 0, nullptr, 0, 0, &chosen, message, sizeof message) ==
        PROBEWISE_ARGUMENT);
  CHECK(std::string(message).find("policy is 99") == 0);
  const int64_t outside = 72;
  CHECK(probewise_surrogate_tell(surrogate, &outside, values.data(), 1, message, 8) == PROBEWISE_ARGUMENT);
  CHECK(std::strlen(message) == 7);  // cut to what the caller has room for
  CHECK(probewise_surrogate_tell(nullptr, &outside, values.data(), 1, message, sizeof message) == PROBEWISE_ARGUMENT);
  probewise_surrogate_destroy(surrogate);
  probewise_surrogate_destroy(nullptr);
  CHECK(probewise_surrogate_create(9, 8, 1.0, 1.0, 8, 2.0, 2.0, 1.0, 1e-2, 0.0, &surrogate, message, sizeof message) ==
        PROBEWISE_ARGUMENT);
  CHECK(surrogate == nullptr);
}

TEST_CASE("codes, atoms and patches in C") {
  const std::vector<double> fractions{0.0, 0.5, 1.0};
  std::vector<uint16_t> codes(3);
  CHECK(probewise_dac_codes(fractions.data(), 3, 14, codes.data(), nullptr, 0) == PROBEWISE_OK);
  CHECK((codes[0] == 0 && codes[1] == 8192 && codes[2] == 16383));  // 8191.5 to even
  const double outside = 1.0001;
  CHECK(probewise_dac_codes(&outside, 1, 14, codes.data(), nullptr, 0) == PROBEWISE_ARGUMENT);

  std::vector<float> image(64, 0.0F);
  image[9] = 0.9F;   // (1, 1)
  image[10] = 0.9F;  // (1, 2)
  image[45] = 0.8F;  // (5, 5)
  std::vector<double> yx(2), score(1);
  std::size_t found = 0;
  CHECK(probewise_find_atoms(image.data(), 8, 8, 0.5F, yx.data(), score.data(), 1, &found, nullptr, 0) == PROBEWISE_OK);
  CHECK((found == 2 && yx[0] == doctest::Approx(1.0) && yx[1] == doctest::Approx(1.5)));
  CHECK(score[0] == doctest::Approx(0.9));

  const std::vector<double> centres{0.0, 0.0, 5.0, 5.0};
  std::vector<float> patches(18);
  std::vector<int64_t> kept(2);
  std::size_t count = 0;
  char message[128];
  CHECK(probewise_extract_patches(image.data(), 8, 8, centres.data(), 2, 3, patches.data(), kept.data(), &count,
                                  message, sizeof message) == PROBEWISE_OK);
  CHECK((count == 1 && kept[0] == 1 && patches[4] == 0.8F));
  CHECK(probewise_extract_patches(image.data(), 8, 8, centres.data(), 2, 9, patches.data(), kept.data(), &count,
                                  message, sizeof message) == PROBEWISE_ARGUMENT);
}
