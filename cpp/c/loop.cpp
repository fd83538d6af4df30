// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/loop.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>

#include "guard.hpp"
#include "probewise.h"

namespace c = probewise::c;

struct probewise_loop {
  probewise::Loop loop;
  std::atomic<bool> busy{false}, stop{false};
};

namespace {

static_assert(static_cast<std::uint32_t>(probewise::Refusal::not_finite) == PROBEWISE_NOT_FINITE);
static_assert(static_cast<std::uint32_t>(probewise::Refusal::saturated) == PROBEWISE_SATURATED);
static_assert(static_cast<std::uint32_t>(probewise::Refusal::constant) == PROBEWISE_CONSTANT);
static_assert(static_cast<std::uint32_t>(probewise::Refusal::duplicate) == PROBEWISE_DUPLICATE);
static_assert(static_cast<std::uint32_t>(probewise::Refusal::host) == PROBEWISE_BY_HOST);

void check_size(std::uint32_t size, std::size_t expected, const char* name) {
  if (size < expected) {
    throw std::invalid_argument(std::string(name) + ".struct_size is " + std::to_string(size) + ", expected at least " +
                                std::to_string(expected));
  }
}

probewise::LoopOptions options_of(const probewise_loop_options& given) {
  check_size(given.struct_size, sizeof(probewise_loop_options), "options");
  // Silence about an infinite level, which is "unknown", is meant; a finite one has to survive float.
  if (std::isfinite(given.saturation) && std::fabs(given.saturation) > std::numeric_limits<float>::max()) {
    throw std::invalid_argument("saturation is " + std::to_string(given.saturation) + ", expected a float32 count");
  }
  probewise::LoopOptions options;
  options.rows = given.rows;
  options.cols = given.cols;
  options.border = given.border;
  options.fov_nm_y = given.fov_nm_y;
  options.fov_nm_x = given.fov_nm_x;
  options.side_nm = given.side_nm;
  options.scan_rows = given.scan_rows;
  options.scan_cols = given.scan_cols;
  options.kernel = c::kernel_of(given.kernel);
  options.lengthscale_pitches = given.lengthscale_pitches;
  options.noise = given.noise;
  options.policy = c::policy_of(given.policy);
  options.parameters.beta = given.beta;
  options.parameters.xi = given.xi;
  options.parameters.threshold = given.threshold;
  options.parameters.low = given.low;
  options.parameters.high = given.high;
  options.seed = given.seed;
  options.start = given.start;
  options.retries = given.retries;
  options.bad_frames_running = given.bad_frames_running;
  options.saturation = static_cast<float>(given.saturation);
  options.max_saturated = given.max_saturated;
  return options;
}

probewise_visit c_visit(const probewise::Visit& visit) {
  return {visit.step, visit.site, visit.yx.data(), visit.yx.size() / 2};
}

probewise_step c_step(const probewise::LoopStep& step) {
  return {step.step, step.site, step.value, step.digest, step.refusal, 0};
}

void check_answer(std::int32_t answer, probewise_status status, const char* name) {
  if (answer != 0) throw c::Failure(status, std::string(name) + " returned " + std::to_string(answer) + ", expected 0");
}

/// What a host in C++ throws out of its callback becomes that callback's status.
template <class Call>
auto calling(probewise_status status, const char* name, Call&& call) {
  try {
    return call();
  } catch (const c::Failure&) {
    throw;
  } catch (const std::exception& error) {
    throw c::Failure(status, std::string(name) + ": " + error.what());
  } catch (...) {
    throw c::Failure(status, std::string(name) + " threw");
  }
}

}  // namespace

extern "C" {

uint32_t probewise_abi_version(void) { return PROBEWISE_ABI_VERSION; }

const char* probewise_version(void) { return PROBEWISE_VERSION; }

void probewise_loop_defaults(probewise_loop_options* options) {
  if (options == nullptr) return;
  const probewise::LoopOptions defaults;
  *options = {};
  options->struct_size = sizeof *options;
  options->kernel = PROBEWISE_MATERN52;
  options->policy = PROBEWISE_UCB;
  options->start = static_cast<uint32_t>(defaults.start);
  options->rows = static_cast<uint32_t>(defaults.rows);
  options->cols = static_cast<uint32_t>(defaults.cols);
  options->border = static_cast<uint32_t>(defaults.border);
  options->scan_rows = static_cast<uint32_t>(defaults.scan_rows);
  options->scan_cols = static_cast<uint32_t>(defaults.scan_cols);
  options->retries = static_cast<uint32_t>(defaults.retries);
  options->bad_frames_running = static_cast<uint32_t>(defaults.bad_frames_running);
  options->seed = defaults.seed;
  options->fov_nm_y = defaults.fov_nm_y;
  options->fov_nm_x = defaults.fov_nm_x;
  options->side_nm = defaults.side_nm;
  options->lengthscale_pitches = defaults.lengthscale_pitches;
  options->noise = defaults.noise;
  options->beta = defaults.parameters.beta;
  options->saturation = static_cast<double>(defaults.saturation);
  options->max_saturated = defaults.max_saturated;
}

probewise_status probewise_loop_create(const probewise_loop_options* options, probewise_loop** loop, char* message,
                                       size_t message_size) {
  return c::guarded(message, message_size, [&] {
    *c::expected(loop, "loop") = nullptr;
    *loop = new probewise_loop{probewise::Loop(options_of(*c::expected(options, "options")))};
  });
}

void probewise_loop_destroy(probewise_loop* loop) { delete loop; }

probewise_status probewise_loop_visit(probewise_loop* loop, probewise_visit* visit, char* message,
                                      size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(loop, "loop")->busy);
    c::expected(visit, "visit");
    const std::optional<probewise::Visit> next = loop->loop.visit();
    if (!next) throw c::Failure(PROBEWISE_EXHAUSTED, "no site is free");
    *visit = c_visit(*next);
  });
}

probewise_status probewise_loop_judge(probewise_loop* loop, const float* counts, size_t samples, uint32_t* refusal,
                                      char* message, size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(loop, "loop")->busy);
    c::expected(refusal, "refusal");
    *refusal = loop->loop.judge({c::expected(counts, "counts"), samples});
  });
}

probewise_status probewise_loop_tell(probewise_loop* loop, double value, probewise_step* step, char* message,
                                     size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(loop, "loop")->busy);
    const probewise::LoopStep made = loop->loop.tell(value);
    if (step != nullptr) *step = c_step(made);
  });
}

probewise_status probewise_loop_refuse(probewise_loop* loop, uint32_t refusal, probewise_step* step, char* message,
                                       size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(loop, "loop")->busy);
    const probewise::LoopStep made = loop->loop.refuse(refusal);
    if (step != nullptr) *step = c_step(made);
  });
}

probewise_status probewise_loop_replay(probewise_loop* loop, const probewise_step* step, char* message,
                                       size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(loop, "loop")->busy);
    c::expected(step, "step");
    loop->loop.replay({step->step, step->site, step->value, step->refusal, step->digest});
  });
}

probewise_status probewise_loop_maps(probewise_loop* loop, double* mean, double* deviation, size_t sites, char* message,
                                     size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(loop, "loop")->busy);
    loop->loop.maps({c::expected(mean, "mean"), sites}, {c::expected(deviation, "deviation"), sites});
  });
}

probewise_status probewise_loop_run(probewise_loop* loop, const probewise_host* host, uint64_t steps, uint64_t* made,
                                    char* message, size_t message_size) {
  return c::guarded(message, message_size, [&] {
    const c::Use use(c::expected(loop, "loop")->busy);
    check_size(c::expected(host, "host")->struct_size, sizeof(probewise_host), "host");
    c::expected(host->make_safe, "host.make_safe");
    c::expected(host->scan, "host.scan");
    c::expected(host->describe, "host.describe");
    c::expected(host->journal, "host.journal");
    uint64_t ignored = 0;
    uint64_t& count = made != nullptr ? *made : ignored;
    count = 0;
    probewise::LoopHost callbacks;
    callbacks.scan = [host](const probewise::Visit& visit, std::span<float> counts) {
      const probewise_visit where = c_visit(visit);
      calling(PROBEWISE_SCAN, "scan",
              [&] { check_answer(host->scan(host->user, &where, counts.data()), PROBEWISE_SCAN, "scan"); });
    };
    callbacks.describe = [host](const probewise::Visit& visit, std::span<const float> counts) {
      const probewise_visit where = c_visit(visit);
      double value = std::numeric_limits<double>::quiet_NaN();
      calling(PROBEWISE_DESCRIBE, "describe", [&] {
        check_answer(host->describe(host->user, &where, counts.data(), &value), PROBEWISE_DESCRIBE, "describe");
        if (!std::isfinite(value)) {
          throw c::Failure(PROBEWISE_DESCRIBE, "describe gave " + std::to_string(value) + ", expected a finite value");
        }
      });
      return value;
    };
    callbacks.journal = [host, &count](const probewise::LoopStep& step) {
      const probewise_step kept = c_step(step);
      calling(PROBEWISE_JOURNAL, "journal",
              [&] { check_answer(host->journal(host->user, &kept), PROBEWISE_JOURNAL, "journal"); });
      ++count;
    };
    callbacks.make_safe = [host] { host->make_safe(host->user); };
    const probewise::LoopEnd end = probewise::run(loop->loop, callbacks, steps, loop->stop);
    if (end == probewise::LoopEnd::stopped) {
      loop->stop.store(false);
      throw c::Failure(PROBEWISE_STOPPED, "stopped");
    }
    if (end == probewise::LoopEnd::exhausted) throw c::Failure(PROBEWISE_EXHAUSTED, "no site is free");
  });
}

void probewise_loop_stop(probewise_loop* loop) {
  if (loop != nullptr) loop->stop.store(true);
}

}  // extern "C"
