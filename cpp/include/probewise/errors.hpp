// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <stdexcept>

namespace probewise {

/// A failure that is not a caller's wrong argument (those throw std::invalid_argument or std::out_of_range).
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A covariance matrix lost positive definiteness, jitter included.
class NotPositiveDefinite : public Error {
 public:
  using Error::Error;
};

/// The CUDA driver or a device failed, or there is none.
class CudaError : public Error {
 public:
  using Error::Error;
};

}  // namespace probewise
