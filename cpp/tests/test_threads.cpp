// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "allocation_count.hpp"
#include "probewise/descriptors/spectra.hpp"
#include "probewise/engine.hpp"
#include "probewise/random.hpp"
#include "probewise/surrogate/likelihood.hpp"
#include "runtime/pool.hpp"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace probewise;

namespace {

/// All pieces by `pool`: piece i writes the square of i.
std::vector<std::size_t> squares(Pool& pool, std::size_t pieces) {
  std::vector<std::size_t> out(pieces);
  const auto body = [&](std::size_t piece) { out[piece] += piece * piece; };
  pool.run(
      pieces, [](const void* context, std::size_t piece) { (*static_cast<const decltype(body)*>(context))(piece); },
      &body);
  return out;
}

template <class Body>
void run(Pool& pool, std::size_t pieces, const Body& body) {
  pool.run(pieces, [](const void* context, std::size_t piece) { (*static_cast<const Body*>(context))(piece); }, &body);
}

std::vector<double> uniform(std::size_t count, std::uint64_t key) {
  std::vector<double> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const RandomBlock block = philox(key, 7, i);
    values[i] = uniform_open(block.word[0], block.word[1]);
  }
  return values;
}

}  // namespace

TEST_CASE("every piece is done once, however many threads there are") {
  for (const std::size_t threads : {1u, 2u, 3u, 40u}) {
    Pool pool(threads);
    for (const std::size_t pieces : {0u, 1u, 2u, 3u, 1000u}) {
      const std::vector<std::size_t> out = squares(pool, pieces);
      for (std::size_t i = 0; i < pieces; ++i) CHECK(out[i] == i * i);
    }
  }
}

TEST_CASE("one thread means the caller's") {
  Pool pool(1);
  const std::thread::id caller = std::this_thread::get_id();
  std::size_t others = 0;
  run(pool, 100, [&](std::size_t) { others += std::this_thread::get_id() == caller ? 0 : 1; });
  CHECK(others == 0);
}

TEST_CASE("two threads work at the same time") {
  Pool pool(2);
  std::atomic<int> inside{0};
  run(pool, 2, [&](std::size_t) {  // neither piece can end before the other has begun
    ++inside;
    while (inside < 2) std::this_thread::yield();
  });
  CHECK(inside == 2);
}

TEST_CASE("the exception of the lowest piece that throws reaches the caller, and the pool goes on") {
  for (const std::size_t threads : {1u, 3u}) {
    Pool pool(threads);
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::string caught;
      try {
        run(pool, 64, [](std::size_t piece) {
          if (piece % 7 == 5) throw std::runtime_error("piece " + std::to_string(piece));
        });
      } catch (const std::runtime_error& error) {
        caught = error.what();
      }
      CHECK(caught == "piece 5");
    }
    CHECK(squares(pool, 9)[8] == 64);
  }
}

TEST_CASE("a region within a region and a second caller do their pieces themselves") {
  Pool pool(3);
  std::atomic<int> done{0};
  run(pool, 8, [&](std::size_t) {
    const std::thread::id here = std::this_thread::get_id();
    run(pool, 5, [&](std::size_t) { done += std::this_thread::get_id() == here ? 1 : 0; });
  });
  CHECK(done == 40);
  std::atomic<bool> release{false};
  std::atomic<int> begun{0};
  std::thread holder([&] {
    run(pool, 2, [&](std::size_t) {
      ++begun;
      while (!release) std::this_thread::yield();
    });
  });
  while (begun == 0) std::this_thread::yield();
  std::size_t own = 0;
  const std::thread::id caller = std::this_thread::get_id();
  run(pool, 20, [&](std::size_t) { own += std::this_thread::get_id() == caller ? 1 : 0; });
  CHECK(own == 20);  // while the region of the other is still open
  release = true;
  holder.join();
}

TEST_CASE("many callers at once get their own answers") {
  Pool pool(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (std::size_t caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (std::size_t i = 0; i < 100; ++i) {
        const std::vector<std::size_t> out = squares(pool, 1 + i % 17);
        for (std::size_t k = 0; k < out.size(); ++k) wrong += out[k] == k * k ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("a pool that was stopped leaves the work to the caller") {
  Pool pool(3);
  CHECK(squares(pool, 50)[49] == 49 * 49);
  pool.stop();
  CHECK(squares(pool, 50)[49] == 49 * 49);
  pool.stop();
}

#if !defined(_WIN32) && !defined(__SANITIZE_THREAD__)  // ThreadSanitizer does not follow threads made after a fork
TEST_CASE("a forked child has threads of its own, and ends") {
  const UseThreads none(1);  // the rest of this program shares nothing meanwhile
  Pool parent(2);
  CHECK(squares(parent, 50)[49] == 49 * 49);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    Pool own(2);
    _exit(squares(own, 50)[49] == 49 * 49 ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(squares(parent, 50)[49] == 49 * 49);
}
#endif

TEST_CASE("a fit's likelihood and gradient are the same to the last bit for every number of threads") {
  for (const std::size_t n : {1u, 40u, 300u}) {
    const std::vector<double> points = uniform(2 * n, 1), values = uniform(n, 2), noise = uniform(n, 3);
    std::vector<std::vector<double>> found;
    for (const std::size_t threads : {1u, 2u, 3u}) {
      const UseThreads use(threads);
      Likelihood likelihood(points, 2, values, Kernel::matern52, 1.0, noise);
      std::vector<double> answer(5);
      answer[0] = likelihood.evaluate({{0.2, 0.3}, 1.3, 1e-2}, std::span(answer).subspan(1));
      found.push_back(answer);
    }
    CHECK(std::isfinite(found[0][0]));
    CHECK(found[1] == found[0]);
    CHECK(found[2] == found[0]);
  }
}

TEST_CASE("spectra of windows are the same to the last bit for every number of threads") {
  const std::vector<double> pixels = uniform(90 * 110, 4);
  const std::vector<float> image(pixels.begin(), pixels.end());
  std::vector<std::int64_t> corners;
  for (std::int64_t row = 0; row <= 90 - 24; row += 11) {
    for (std::int64_t col = 0; col <= 110 - 24; col += 7) corners.insert(corners.end(), {row, col});
  }
  const std::vector<float> taper(24, 0.5f);
  const std::size_t count = corners.size() / 2, features = 2 * 8 * 9;
  std::vector<std::vector<float>> found;
  for (const std::size_t threads : {1u, 2u, 3u}) {
    const UseThreads use(threads);
    std::vector<float> out(count * features);
    std::vector<double> means(count);
    descriptors::window_spectra({image.data(), 90, 110, 110}, corners, taper, 8, 1.0f, true, out, means);
    out.insert(out.end(), means.begin(), means.end());
    found.push_back(out);
  }
  CHECK(found[0][features + 3] > 0.0f);
  CHECK(found[1] == found[0]);
  CHECK(found[2] == found[0]);
}

namespace {

/// Choices and maps of a small random problem, as one number that any changed bit changes.
std::uint64_t play(std::uint64_t problem) {
  const std::vector<double> draw = uniform(40, problem);
  const auto below = [&](std::size_t which, std::size_t limit) {
    return static_cast<std::size_t>(draw[which] * static_cast<double>(limit));
  };
  const std::size_t rows = 1 + below(0, 100), cols = 1 + below(1, 300), size = rows * cols;
  const bool stores = below(2, 2) == 0;
  constexpr Kernel kernels[] = {Kernel::matern52, Kernel::rbf, Kernel::product_matern32};
  constexpr Precision precisions[] = {Precision::float64, Precision::float32, Precision::float16};
  constexpr Plan plans[] = {Plan::separable, Plan::lazy};
  Engine engine(GaussianProcess(Candidates::lattice(rows, cols, 1.0, 1.0), kernels[stores ? below(3, 3) : 2],
                                Hyperparameters{{1.0 + 5.0 * draw[4], 1.0 + 5.0 * draw[5]}, 1.0, 1e-2}, 0.1, 1.0,
                                precisions[below(6, stores ? 3 : 2)], stores ? Plan::cached : plans[below(7, 2)]));
  ChoiceRequest request;
  request.policy = static_cast<Policy>(below(8, 7));
  request.key = {problem, 1};
  if (below(9, 8) == 0) {  // enough for a rebuild by blocks
    std::vector<std::int64_t> told;
    for (std::size_t i = 0; i < 70; ++i) told.push_back(static_cast<std::int64_t>(i * 7919 % size));
    engine.surrogate().tell(told, uniform(70, problem + 1));
    engine.surrogate().set_hyperparameters({{2.0, 3.0}, 1.2, 1e-2});
  }
  std::uint64_t mixed = 14695981039346656037u;
  const auto mix = [&](const void* data, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) {
      mixed = (mixed ^ static_cast<const unsigned char*>(data)[i]) * 1099511628211u;
    }
  };
  std::int64_t site = static_cast<std::int64_t>(below(10, size));
  for (std::size_t step = 0; step < 4 && site >= 0; ++step) {
    site = engine.step(site, draw[11 + step], request);
    mix(&site, sizeof site);
  }
  for (const MapView map : {engine.surrogate().mean(), engine.surrogate().deviation()}) {
    if (map.f64 != nullptr) mix(map.f64, size * sizeof(double));
    if (map.f32 != nullptr) mix(map.f32, size * sizeof(float));
  }
  return mixed;
}

}  // namespace

TEST_CASE("1,000 random problems have the same maps and choices to the last bit for every number of threads") {
  constexpr std::uint64_t problems = 1000;
  std::vector<std::vector<std::uint64_t>> found;
  for (const std::size_t threads : {1u, 2u, 3u}) {
    const UseThreads use(threads);
    found.emplace_back();
    for (std::uint64_t problem = 0; problem < problems; ++problem) found.back().push_back(play(problem));
  }
  CHECK(found[0][0] != found[0][1]);
  CHECK(found[1] == found[0]);
  CHECK(found[2] == found[0]);
}

TEST_CASE("solves and choices over many pieces are the same to the last bit for every number of threads") {
  // 1200 rows: three blocks of the factor; a lattice of 80,000: more than one piece of every kind.
  std::vector<std::vector<double>> found;
  for (const std::size_t threads : {1u, 2u, 3u}) {
    const UseThreads use(threads);
    Engine engine(GaussianProcess(Candidates::lattice(200, 400, 1.0, 1.0), Kernel::rbf,
                                  Hyperparameters{{3.0, 3.0}, 1.0, 1e-2}, 0.0, 1.0, Precision::float32));
    std::vector<std::int64_t> told;
    for (std::int64_t i = 0; i < 1200; ++i) told.push_back(i * 7919 % 80000);
    engine.surrogate().tell(std::span(told).first(300), uniform(300, 5));
    engine.surrogate().tell(std::span(told).last(900), uniform(900, 6));
    ChoiceRequest request;
    request.policy = Policy::upper_confidence_bound;
    std::vector<std::int64_t> chosen(3);
    CHECK(engine.choose(request, chosen) == 3);
    std::vector<double> answer(chosen.begin(), chosen.end());
    for (std::size_t j = 0; j < 80000; j += 37) answer.push_back(engine.surrogate().mean()[j]);
    for (std::size_t j = 0; j < 80000; j += 37) answer.push_back(engine.surrogate().deviation()[j]);
    found.push_back(answer);
  }
  CHECK(found[1] == found[0]);
  CHECK(found[2] == found[0]);
}

TEST_CASE("a step on two threads allocates nothing") {
  const UseThreads two(2);
  for (const Kernel kernel : {Kernel::rbf, Kernel::matern52}) {
    for (const Precision precision : {Precision::float64, Precision::float32, Precision::float16}) {
      if (kernel == Kernel::rbf && precision == Precision::float16) continue;  // refused
      Engine engine(GaussianProcess(Candidates::lattice(100, 300, 1.0, 1.0), kernel,
                                    Hyperparameters{{3.0, 3.0}, 1.0, 1e-2}, 0.0, 1.0, precision));
      engine.surrogate().reserve(64);
      ChoiceRequest request;
      request.policy = Policy::upper_confidence_bound;
      std::int64_t site = engine.step(0, 0.5, request);
      const long before = allocation_count();
      for (int i = 0; i < 50; ++i) site = engine.step(site, std::sin(0.1 * static_cast<double>(site)), request);
      CHECK(allocation_count() == before);
    }
  }
}
