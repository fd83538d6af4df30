// SPDX-License-Identifier: BSD-3-Clause
// Acquisition software in C++: its own scan control, descriptor and journal, probewise decides where to go.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <probewise/loop.hpp>
#include <stdexcept>
#include <vector>

int main() {
  probewise::LoopOptions options;
  options.scan_rows = options.scan_cols = 16;
  probewise::Loop loop(options);
  std::vector<probewise::LoopStep> journal;
  double best = 0.0;
  int made_safe = 0;
  probewise::LoopHost host;
  host.scan = [&](const probewise::Visit& visit, std::span<float> counts) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const double y = visit.yx[2 * i] - 0.7, x = visit.yx[2 * i + 1] - 0.3;
      counts[i] = static_cast<float>(10.0 * std::exp(-(y * y + x * x) / 0.02) + static_cast<double>(i % 7));
    }
  };
  host.describe = [&](const probewise::Visit&, std::span<const float> counts) {
    const double value = std::accumulate(counts.begin(), counts.end(), 0.0) / static_cast<double>(counts.size());
    best = std::max(best, value);
    return value;
  };
  host.journal = [&](const probewise::LoopStep& step) { journal.push_back(step); };
  host.make_safe = [&] { ++made_safe; };
  const std::atomic<bool> stop{false};
  if (run(loop, host, 60, stop) != probewise::LoopEnd::steps) return 1;
  if (journal.size() != 60 || made_safe != 1 || best < 10.0) return 2;

  host.scan = [](const probewise::Visit&, std::span<float>) { throw std::runtime_error("coil"); };
  try {
    run(loop, host, 1, stop);
    return 3;
  } catch (const std::runtime_error&) {
    if (made_safe != 2) return 4;
  }
  std::printf("%zu steps of C++\n", journal.size());
  return 0;
}
